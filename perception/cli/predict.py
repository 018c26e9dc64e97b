"""`perception predict run=RUN images=PATH`: overlays, JSON and benchmark files for any images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from perception.errors import UsageError

HYDRA = True
USAGE = """usage: perception predict run=RUN images=PATH [out=DIR] [which=best|last] [device=auto]
                          [tasks=[road,boxes,semantic]] [score=0.4] [key=value ...]

Predicts an image, a folder of images or a video with a trained run. Writes below `out` (default:
RUN/predictions): overlays/ (for a video also overlay.mp4), json/, and road/, boxes/, semantic/ in
the formats that `perception score` reads, all in original pixels. `score` is the lowest score of a
drawn box; files hold every box. Other
key=value words change the run's configuration, e.g. head.boxes.nms_threshold=0.4."""
OPTIONS = {"run", "images", "out", "which", "device", "tasks", "score"}


def run(words: Sequence[str]) -> int:
    """Predicts and writes; 0 when every image was predicted."""
    if {"--help", "-h"} & set(words):
        print(USAGE)
        return 0
    options, overrides = split_options(words, OPTIONS)
    for needed in ("run", "images"):
        if needed not in options:
            raise UsageError(
                "perception predict",
                f"no {needed}=",
                "run=RUN images=PATH",
                "perception predict --help says more.",
            )
    from perception.experiments.load import load
    from perception.inference.predict import predict_source
    from perception.inference.sources import open_source
    from perception.report.overlay import draw_prediction

    lowest = _score(options)
    source = open_source(Path(options["images"]))
    model = load(
        options["run"],
        which=options.get("which"),
        device=options.get("device", "auto"),
        overrides=overrides,
    )
    out = Path(options.get("out") or _folder(Path(options["run"])) / "predictions")
    tasks = [t for t in options.get("tasks", "").strip("[]").split(",") if t] or None
    done = predict_source(
        model,
        source,
        out,
        tasks=tasks,
        draw=lambda image, prediction: draw_prediction(image, prediction, score=lowest),
    )
    print(f"{done.images} images, {done.milliseconds:.1f} ms each: {out}")
    return 0


def split_options(words: Sequence[str], names: set[str]) -> tuple[dict[str, str], list[str]]:
    """The words `name=value` whose name is an option of the verb, and all others."""
    options: dict[str, str] = {}
    others: list[str] = []
    for word in words:
        name, separator, value = word.partition("=")
        if separator and name in names:
            options[name] = value
        else:
            others.append(word)
    return options, others


def _score(options: dict[str, str]) -> float:
    try:
        value = float(options.get("score", "0.4"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError("score", options["score"], "a number in [0, 1]", "Use e.g. score=0.4.")
    return value


def _folder(run: Path) -> Path:
    """The folder of a run that was named itself or by a checkpoint in it."""
    return run.parent if run.is_file() else run
