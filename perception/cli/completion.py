"""Shell completion: `perception --completion` prints a script for bash, which zsh reads, too."""

from __future__ import annotations

from perception.experiments.groups import groups, options_of

_SCRIPT = """_perception() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  compopt -o default 2>/dev/null
  if [ "$COMP_CWORD" = 1 ]; then COMPREPLY=($(compgen -W "{verbs}" -- "$word")); return; fi
  case "${{COMP_WORDS[1]}}" in train|look)
    if [[ "$COMP_LINE" =~ ([a-z/]+)=([^\\ ]*)$ ]]; then
      case "${{BASH_REMATCH[1]}}" in
{choices}
      esac
    else
      compopt -o nospace 2>/dev/null
      COMPREPLY=($(compgen -W "{groups}" -- "$word"))
    fi ;;
  esac
}}
complete -F _perception perception"""
_CASE = '        {group}) COMPREPLY=($(compgen -W "{options}" -- "${{BASH_REMATCH[2]}}")) ;;'


def script(verbs: list[str]) -> str:
    """The completion script: verbs, groups and their choices."""
    cases = (_CASE.format(group=g, options=" ".join(options_of(g))) for g in groups())
    return _SCRIPT.format(
        verbs=" ".join(verbs),
        groups=" ".join(f"{group}=" for group in groups()),
        choices="\n".join(cases),
    )
