"""The page of a run: numbers, curves, best and worst frames, timing, configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from perception.evaluation.confusions import class_table, confusion_section
from perception.evaluation.kitti_object.result import object_result
from perception.evaluation.kitti_road.result import road_curves, road_table
from perception.experiments.evaluate import Evaluation, SetEvaluation
from perception.files import read_json, write_text
from perception.inference.model import Model
from perception.report.overlay import (
    RGB,
    box_color,
    draw_labels,
    draw_prediction,
    enlarge,
    enlarged,
    mask_color,
)
from perception.report.page import PICTURE_WIDTH, render
from perception.report.parts import (
    Cell,
    Column,
    Figure,
    Figures,
    Legend,
    Lines,
    Panel,
    Part,
    Pictures,
    Section,
    Series,
    Table,
    Text,
)
from perception.runs.evaluate import (
    StoredRun,
    evaluate_run,
    machine,
    open_run,
    record_folder,
    training_seconds,
)
from perception.structures import Frame
from perception.tasks import Kind
from perception.training.logs import read_log

SHOWN = 3  # best and worst frames per data set and task


def write_report(
    folder: Path,
    *,
    which: str | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    out: Path | None = None,
) -> tuple[Path, Evaluation]:
    """Evaluates a run and writes `report.html`, one self-contained file, and `evaluation.json`.

    They go into the run's folder, or where `record_folder` says.

    Raises:
        PerceptionError: no run there, or its data is not where its configuration says.
    """
    run = open_run(folder, which=which, device=device, overrides=overrides)
    place = record_folder(run, out)
    evaluation = evaluate_run(run, place)
    path = place / "report.html"
    write_text(path, report_page(run, evaluation))
    return path, evaluation


def report_page(run: StoredRun, evaluation: Evaluation) -> str:
    """The page as text."""
    sections = [_overview(evaluation)]
    for result in evaluation.sets:
        sections += [*_numbers(result), *_frames(run, result)]
    held = _held(run.folder)
    sections += [*_data(held), _training(run), _timing(evaluation), _configuration(run)]
    chosen = run.checkpoint.stem
    if chosen == "best":
        chosen += ", chosen on these same validation frames"
    facts = {
        "run": run.folder.name,
        "weights": f"{chosen}, step {run.step:,} of {int(run.config.steps):,}",
        "trained": f"{training_seconds(run.folder) / 60:.1f} minutes",
        "machine": machine(),
        **({"other settings": " ".join(run.overrides)} if run.overrides else {}),
    }
    return render(f"Run {run.config.name}", sections, facts=facts, subtitle=_independence(run))


def _independence(run: StoredRun) -> str:
    """How many of the validation pictures were trained on."""
    sets = run.experiment.sets
    trained = {f.image.resolve() for s in sets for f in s.train.frames}
    val = {f.image.resolve() for s in sets if s.val is not None for f in s.val.frames}
    shared = len(trained & val)
    if not shared:
        return f"Scores on {len(val):,} validation frames that took no part in training."
    return (
        f"{shared:,} of the {len(val):,} validation frames were trained on: these scores do not "
        "say how the network does on new frames."
    )


# ---------------------------------------------------------------------------- sections


def _overview(evaluation: Evaluation) -> Section:
    figures = [
        Figure(f"{s.dataset}: {name}", value)
        for s in evaluation.sets
        for name, value in s.headline().items()
    ]
    return Section("Numbers", (Figures(tuple(figures)),))


def _numbers(result: SetEvaluation) -> list[Section]:
    """Tables and curves of every task of one set."""
    sections = []
    for task, meter in result.meters.items():
        intro = (
            f"Protocol {meter.protocol.name}, version {meter.protocol.version}; "
            f"{len(result.frames):,} frames."
        )
        parts = tuple(_PARTS[meter.task.kind](meter))
        if parts:
            sections.append(Section(f"{result.dataset}: {task}", parts, intro))
    return sections


def _mask_parts(meter: Any) -> Sequence[Part]:
    scores = meter.evaluator.compute()
    return (road_table(scores), *road_curves(scores).parts) if scores else ()


def _boxes_parts(meter: Any) -> Sequence[Part]:
    told = object_result(meter.evaluator.compute())
    notes = [Text(note, warning=True) for note in told.notes]
    return (*notes, *told.tables, *(part for s in told.sections for part in s.parts))


def _classes_parts(meter: Any) -> Sequence[Part]:
    iou = dict(zip(meter.names, map(float, meter.confusion.compute().iou), strict=True))
    pixels = dict(zip(meter.names, meter.confusion.table.sum(1).tolist(), strict=True))
    table = class_table("Intersection over union", {"IoU": iou}, pixels=pixels)
    kept = np.ones(len(meter.names), bool)
    return (table, *confusion_section(meter.confusion.table, meter.names, kept).parts)


def _values_parts(meter: Any) -> Sequence[Part]:
    scores, unit = meter.metrics(), f" ({meter.task.unit})" if meter.task.unit else ""
    columns = (
        Column(f"mean absolute error{unit}", "number"),
        Column("AbsRel", "number", "mean of |predicted - labelled| / labelled"),
        Column(f"RMSE{unit}", "number"),
        Column("δ < 1.25", "percent", "share of pixels within a factor of 1.25"),
        Column("known pixels", "count"),
    )
    return (Table(columns, ((*scores.values(), meter.errors.known),)),)


_PARTS: dict[Kind, Callable[[Any], Sequence[Part]]] = {
    Kind.MASK: _mask_parts,
    Kind.CLASSES: _classes_parts,
    Kind.VALUES: _values_parts,
    Kind.BOXES: _boxes_parts,
}


def _frames(run: StoredRun, result: SetEvaluation) -> list[Section]:
    """Best and worst frames by the mean of their own scores, and all frames in a table."""
    ranked = sorted(
        (f for f in result.frames if not math.isnan(f.mean)), key=lambda f: f.mean, reverse=True
    )
    if not ranked:
        return []
    tasks = list(dict.fromkeys(name for f in ranked for name in f.scores))
    half = min(SHOWN, -(-len(ranked) // 2))  # of two frames one is the best, one the worst
    shown = ranked[:half], ranked[max(half, len(ranked) - SHOWN) :][::-1]
    index = {f.key: i for i, f in enumerate(result.frames)}
    val = next(s.val for s in run.experiment.sets if s.name == result.dataset)
    assert val is not None
    parts: list[Part] = [_legend(result)]
    for title, frames in zip(("Best", "Worst"), shown, strict=True):
        for score in frames:
            frame = val.labelled(index[score.key])
            numbers = ", ".join(f"{t} {100 * v:.1f}" for t, v in score.scores.items())
            parts.append(Pictures(f"{title}: {score.key} ({numbers})", _panels(run.model, frame)))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (f.key, *(f.scores.get(t, math.nan) for t in tasks)) for f in ranked[::-1]
    )
    columns = (Column("frame", "text"), *(Column(t) for t in tasks))
    told = ", ".join(f"{meter.note} ({task})" for task, meter in result.meters.items())
    note = f"A frame's own scores: {told}."
    parts.append(Table(columns, rows, "All frames, worst first", note, tall=True))
    return [Section(f"{result.dataset}: frames", tuple(parts))]


def _panels(model: Model, frame: Frame) -> tuple[Panel, ...]:
    """The model's picture beside the label's; small images are enlarged before drawing."""
    pixels = frame.image.read()
    factor = -(-PICTURE_WIDTH // pixels.shape[1])
    image = enlarge(pixels, factor)
    prediction = model.predict(pixels, key=frame.key)
    results = {task: enlarged(result, factor) for task, result in prediction.results.items()}
    labels = {
        task: enlarged(frame.labels[task], factor) for task in results if task in frame.labels
    }
    predicted = draw_prediction(image, replace(prediction, results=results))
    return Panel("predicted", predicted), Panel("labelled", draw_labels(image, labels))


def _legend(result: SetEvaluation) -> Legend:
    """Which colour is what in the pictures of this set."""
    entries: list[tuple[str, RGB]] = []
    for task, meter in result.meters.items():
        if meter.task.kind is Kind.MASK:
            entries.append((task, mask_color(task)))
        entries += [(name, box_color(name)) for name in meter.classes]
        if meter.scheme:
            entries += [(c.name, c.color) for c in meter.scheme.trained]
    return Legend(tuple(dict.fromkeys(entries)))


def _held(folder: Path) -> dict[str, Any]:
    """What training said of its data sets; empty for runs that did not yet."""
    path = folder / "data.json"
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _data(held: Mapping[str, Any]) -> list[Section]:
    """Frames, and pixels and objects by class, of every split."""
    rows: list[tuple[Cell, ...]] = []
    classes: list[tuple[Cell, ...]] = []
    for part in held.get("parts", ()):
        place = (part["data_set"], part["part"])
        beside = sum(part["beside"].values())
        numbers = (part["frames"], part["expected"], part["not_chosen"], beside, part["counted"])
        rows.append((*place, *numbers))
        for task, told in part["contents"].items():
            total = max(sum(told["counts"].values()), 1)
            for name, count in told["counts"].items():
                classes.append((*place, task, name, count, count / total))
    if not rows:
        return []
    place = (Column("data set", "text"), Column("part", "text"))
    frames = Table(
        (
            *place,
            Column("frames", "count"),
            Column("complete", "count", "frames of the complete split, where that is known"),
            Column("not chosen", "count", "left out by include, exclude or limit"),
            Column("other files", "count", "files beside the images that are no frames"),
            Column("counted", "count", "frames whose labels were counted for the table below"),
        ),
        tuple(rows),
    )
    by_class = Table(
        (
            *place,
            Column("task", "text"),
            Column("class", "text"),
            Column("pixels or objects", "count"),
            Column("share"),
        ),
        tuple(classes),
        tall=True,
    )
    return [Section("Data", (frames, by_class), "As it was when training started.")]


def _training(run: StoredRun) -> Section:
    """Loss terms and validation scores over the steps."""
    parts: list[Part] = []
    rows = read_log(run.folder / "train.csv")
    names = [n for n in (rows[-1] if rows else {}) if n == "loss" or "/" in n]
    if rows:
        steps = [r["step"] for r in rows]
        series = tuple(
            Series(n, steps, _smoothed([r.get(n, math.nan) for r in rows])) for n in names
        )
        parts.append(Lines("Loss", "step", "loss (smoothed)", series))
        lr = (Series("learning rate", steps, [r["lr"] for r in rows]),)
        parts.append(Lines("Learning rate", "step", "rate of the first group", lr))
    looks = read_log(run.folder / "evaluation.csv")
    if len(looks) > 1:
        wanted = ("/mean_iou", "/max_f1", "/moderate/ap", "/delta_1.25")
        series = tuple(
            Series(n, [r["step"] for r in looks], [r.get(n, math.nan) for r in looks])
            for n in looks[-1]
            if n.endswith(wanted)
        )
        parts.append(Lines("Validation while training", "step", "score", series))
    return Section("Training", tuple(parts))


def _timing(evaluation: Evaluation) -> Section:
    rows = []
    for s in evaluation.sets:
        mean = s.mean_timing
        total = mean.pre + mean.network + mean.post
        rows.append((s.dataset, mean.pre, mean.network, mean.post, total, 1e3 / total))
    columns = (
        Column("data set", "text"),
        Column("pre (ms)", "number"),
        Column("network (ms)", "number"),
        Column("post (ms)", "number"),
        Column("all (ms)", "number"),
        Column("frames/s", "number"),
    )
    note = f"Mean per frame at batch size 1 after the first, reading aside, on {machine()}."
    return Section("Time per frame", (Table(columns, tuple(rows), note=note),))


def _configuration(run: StoredRun) -> Section:
    parameters = sum(p.numel() for p in run.experiment.model.parameters())
    text = OmegaConf.to_yaml(run.config)
    intro = f"{parameters:,} parameters. The file config.yaml of the run, as it was resolved."
    return Section("Configuration", (Text(text, code=True),), intro)


def _smoothed(values: list[float], keep: float = 0.8) -> list[float]:
    """Exponential mean, so that a curve of noisy losses can be read."""
    out: list[float] = []
    for value in values:
        out.append(value if not out else keep * out[-1] + (1 - keep) * value)
    return out
