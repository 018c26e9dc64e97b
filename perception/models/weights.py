"""Weights from files: safetensors, or PyTorch files read with `weights_only=True`; no pickles.

Whatever does not fit is reported key by key; nothing is left out silently.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from perception.errors import PerceptionError

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # without it, Python prints every key on stderr
_SHOWN = 8  # keys of each kind in the one-line message; the log has them all


@dataclass(frozen=True)
class Fit:
    """How a file's tensors fit a module; all of them keys."""

    fitting: tuple[str, ...]
    missing: tuple[str, ...]  # the module has it, the file does not
    unexpected: tuple[str, ...]  # the file has it, the module does not
    reshaped: tuple[str, ...]  # both have it, with different shapes: "key: file (..), model (..)"
    unused: tuple[str, ...] = ()  # in the file and known to be unneeded, e.g. a classifier

    @property
    def perfect(self) -> bool:
        """Whether every tensor of the module is in the file, and nothing unknown beside them."""
        return not (self.missing or self.unexpected or self.reshaped)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` or PyTorch file by key, on the CPU.

    One enclosing table (`state_dict` or `model`) and the prefix `module.` are taken off.

    Raises:
        PerceptionError: no such file, not a weights file, or a pickle with more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise PerceptionError(
            path, "no such file", "a weights file", "Check the path, or set weights to null."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds on damaged files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise PerceptionError(
            path, reason, "safetensors or a plain state dict", "Download or save the file again."
        ) from error
    return _tensors(path, state)


def load_weights(
    module: nn.Module, state: Mapping[str, Tensor], where: object, *, unused: Sequence[str] = ()
) -> Fit:
    """Copies `state` into `module`, all of it or nothing.

    Args:
        module: what receives the tensors.
        state: tensors by the module's keys.
        where: the file, for messages.
        unused: prefixes of keys that the file may have and the module does not need.

    Raises:
        PerceptionError: a key is missing, unknown or of another shape; names them.
    """
    fit = compare(module, state, unused=unused)
    if not fit.perfect:
        raise _does_not_fit(where, fit)
    chosen = {key: state[key] for key in fit.fitting}
    module.load_state_dict(chosen, strict=False)
    log.info(
        "%s: %d tensors loaded, %d not needed%s",
        where,
        len(fit.fitting),
        len(fit.unused),
        f" ({', '.join(fit.unused)})" if fit.unused else "",
    )
    return fit


def compare(module: nn.Module, state: Mapping[str, Tensor], *, unused: Sequence[str] = ()) -> Fit:
    """Which keys of `state` fit `module`; loads nothing."""
    own = module.state_dict()
    extra = [key for key in state if key not in own]
    known = [key for key in extra if key.startswith(tuple(unused))] if unused else []
    same = [key for key in own if key in state and own[key].shape == state[key].shape]
    return Fit(
        fitting=tuple(same),
        # files from before PyTorch 0.4.1 lack this counter, and evaluation never reads it
        missing=tuple(k for k in own if k not in state and not k.endswith("num_batches_tracked")),
        unexpected=tuple(key for key in extra if key not in known),
        reshaped=tuple(
            f"{key}: file {tuple(state[key].shape)}, model {tuple(own[key].shape)}"
            for key in own
            if key in state and key not in same
        ),
        unused=tuple(known),
    )


def published_file(url: str) -> Path:
    """The local copy of a published file, fetched when it is not there; its hash is checked.

    The name ends in the first digits of the SHA-256, as torchvision's do: `name-0123abcd.pth`.

    Raises:
        PerceptionError: no network, or the bytes are not those published.
    """
    name = Path(urlparse(url).path).name
    digits = name.rsplit("-", 1)[-1].split(".")[0]
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        log.info("fetching %s", url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), digits, progress=False)
        except Exception as error:  # urllib, socket and hub each have their own
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise PerceptionError(
                url,
                reason,
                "a network",
                f"Put that file at {path}, or set encoder.weights to a file or to null.",
            ) from error
    if not _sha256(path).startswith(digits):
        raise PerceptionError(
            path,
            f"SHA-256 {_sha256(path)[: len(digits)]}",
            f"SHA-256 {digits}",
            f"Delete it and put the file of {url} there.",
        )
    return path


# ---------------------------------------------------------------------------- helpers


def _tensors(path: Path, state: object) -> dict[str, Tensor]:
    """The table of tensors in what a file held."""
    if isinstance(state, Mapping):
        for wrapper in ("evaluated", "state_dict", "model"):  # ours, and two usual ones
            if isinstance(state.get(wrapper), Mapping):
                state = state[wrapper]
                break
    if not isinstance(state, Mapping) or not state:
        raise PerceptionError(
            path, type(state).__name__, "tensors by key", "Save the module's state_dict()."
        )
    wrong = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if wrong:
        raise PerceptionError(
            f"{path}: {wrong[0]}",
            "no tensor",
            "tensors by key",
            "Save only the module's state_dict().",
        )
    if all(key.startswith("module.") for key in state):
        return {key.removeprefix("module."): value for key, value in state.items()}
    return dict(state)


def _does_not_fit(where: object, fit: Fit) -> PerceptionError:
    """The error that names what does not fit; every key goes to the log."""
    kinds = {"missing": fit.missing, "unknown": fit.unexpected, "other shape": fit.reshaped}
    parts = []
    for kind, keys in kinds.items():
        for key in keys:
            log.error("%s: %s: %s", where, kind, key)
        if keys:
            more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
            parts.append(f"{len(keys)} {kind} ({'; '.join(keys[:_SHOWN])}{more})")
    return PerceptionError(
        where,
        ", ".join(parts),
        f"the keys and shapes of this network ({len(fit.fitting)} fit)",
        "Choose the encoder, width and heads that the file was made with.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
