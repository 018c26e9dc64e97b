"""The page of a run: numbers, curves, best and worst frames, timing, configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from perception.evaluation.confusions import class_table, confusion_section
from perception.evaluation.kitti_object.result import object_result
from perception.evaluation.kitti_road.result import road_curves, road_table
from perception.experiments.evaluate import Evaluation, SetEvaluation
from perception.files import write_text
from perception.inference.model import Model
from perception.report.overlay import (
    ROAD,
    SEMANTIC_ALPHA,
    box_color,
    draw_boxes,
    draw_prediction,
    draw_road,
    draw_semantic,
    enlarge,
    enlarge_label,
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
from perception.runs.evaluate import StoredRun, evaluate_run, machine, open_run, training_seconds
from perception.structures import Frame, Prediction
from perception.training.logs import read_log

SHOWN = 3  # best and worst frames per data set and task


def write_report(
    folder: Path, *, which: str | None = None, device: str = "auto", overrides: Sequence[str] = ()
) -> tuple[Path, Evaluation]:
    """Evaluates a run and writes `report.html` into its folder; one self-contained file.

    Raises:
        PerceptionError: no run there, or its data is not where its configuration says.
    """
    run = open_run(folder, which=which, device=device, overrides=overrides)
    evaluation = evaluate_run(run)
    path = run.folder / "report.html"
    write_text(path, report_page(run, evaluation))
    return path, evaluation


def report_page(run: StoredRun, evaluation: Evaluation) -> str:
    """The page as text."""
    sections = [_overview(evaluation)]
    for result in evaluation.sets:
        sections += [*_numbers(result), *_frames(run, result)]
    sections += [_training(run), _timing(evaluation), _configuration(run)]
    chosen = run.checkpoint.stem
    if chosen == "best":
        chosen += ", chosen on these same validation frames"
    facts = {
        "run": run.folder.name,
        "weights": f"{chosen}, step {run.step:,} of {int(run.config.steps):,}",
        "trained": f"{training_seconds(run.folder) / 60:.1f} minutes",
        "machine": machine(),
    }
    return render(
        f"Run {run.config.name}",
        sections,
        facts=facts,
        subtitle="Scores on validation frames that took no part in training.",
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
    count = f"{len(result.frames):,} frames"
    protocols = {p.name.split("/")[0]: f"{p.name}, version {p.version}" for p in result.protocols}
    if result.road:
        scores = result.road.compute()
        curves = road_curves(scores)
        parts = (road_table(scores), *curves.parts)
        intro = f"Protocol {protocols['kitti_road']}; {count}."
        sections.append(Section(f"{result.dataset}: road", parts, intro))
    if result.boxes:
        told = object_result(result.boxes.compute())
        parts_boxes: list[Part] = [Text(note, warning=True) for note in told.notes]
        parts_boxes += [*told.tables, *(p for s in told.sections for p in s.parts)]
        intro = f"Protocol {protocols['kitti_object']}; {count}."
        sections.append(Section(f"{result.dataset}: boxes", tuple(parts_boxes), intro))
    if result.semantic and result.scheme:
        names = result.scheme.names
        iou = dict(zip(names, map(float, result.semantic.compute().iou), strict=True))
        table = class_table("Intersection over union", {"IoU": iou})
        kept = np.ones(len(names), bool)
        confusion = confusion_section(result.semantic.table, names, kept)
        intro = f"Protocol {protocols['semantic']}; {count}."
        parts_semantic = (table, *confusion.parts)
        sections.append(Section(f"{result.dataset}: semantic classes", parts_semantic, intro))
    return sections


def _frames(run: StoredRun, result: SetEvaluation) -> list[Section]:
    """Best and worst frames by the mean of their own scores, and all frames in a table."""
    ranked = sorted(
        (f for f in result.frames if not math.isnan(f.mean)), key=lambda f: f.mean, reverse=True
    )
    if not ranked:
        return []
    tasks = list(dict.fromkeys(name for f in ranked for name in f.scores))
    shown = ranked[:SHOWN], ranked[max(SHOWN, len(ranked) - SHOWN) :][::-1]
    index = {f.key: i for i, f in enumerate(result.frames)}
    val = next(s.val for s in run.experiment.sets if s.name == result.dataset)
    assert val is not None
    parts: list[Part] = [_legend(result, run.experiment.box_names)]
    for title, frames in zip(("Best", "Worst"), shown, strict=True):
        for score in frames:
            frame = val.labelled(index[score.key])
            numbers = ", ".join(f"{t} {100 * v:.1f}" for t, v in score.scores.items())
            parts.append(Pictures(f"{title}: {score.key} ({numbers})", _panels(run.model, frame)))
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (f.key, *(f.scores.get(t, math.nan) for t in tasks)) for f in ranked[::-1]
    )
    columns = (Column("frame", "text"), *(Column(t) for t in tasks))
    note = "A frame's own F1 at 0.5 (road), mean IoU (semantic), F1 at overlap 0.5 (boxes)."
    parts.append(Table(columns, rows, "All frames, worst first", note, tall=True))
    return [Section(f"{result.dataset}: frames", tuple(parts))]


def _panels(model: Model, frame: Frame) -> tuple[Panel, ...]:
    """The model's picture beside the label's; small images are enlarged before drawing."""
    pixels = frame.image.read()
    factor = -(-PICTURE_WIDTH // pixels.shape[1])
    image = enlarge(pixels, factor)
    prediction = model.predict(pixels, key=frame.key)
    label = image
    if frame.semantic and model.scheme and frame.semantic.scheme.names == model.scheme.names:
        ids = enlarge_label(frame.semantic.train_ids, factor)
        label = draw_semantic(label, ids, model.scheme.colors, alpha=SEMANTIC_ALPHA)
    if frame.road:
        valid = enlarge_label(frame.road.valid, factor)
        label = draw_road(label, enlarge_label(frame.road.road, factor), valid=valid)
    if frame.boxes is not None:
        b = frame.boxes
        label = draw_boxes(label, b.xyxy * factor, b.names, ignore=b.ignore)
    predicted = draw_prediction(image, _enlarged(prediction, factor))
    return Panel("predicted", predicted), Panel("labelled", label)


def _enlarged(prediction: Prediction, factor: int) -> Prediction:
    """The same prediction for an image `factor` times as large."""
    road, semantic, boxes = prediction.road, prediction.semantic, prediction.boxes
    return replace(
        prediction,
        road=None if road is None else enlarge_label(road, factor),
        semantic=semantic and replace(semantic, ids=enlarge_label(semantic.ids, factor)),
        boxes=None if boxes is None else boxes.replace(xyxy=boxes.xyxy * factor),
    )


def _legend(result: SetEvaluation, box_names: Sequence[str]) -> Legend:
    """Which colour is what in the pictures of this set."""
    entries = [("road", ROAD)] if result.road else []
    entries += [(name, box_color(name)) for name in box_names] if result.boxes else []
    if result.scheme:
        colors = result.scheme.colors.tolist()
        entries += [
            (n, (c[0], c[1], c[2])) for n, c in zip(result.scheme.names, colors, strict=True)
        ]
    return Legend(tuple(entries))


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
        wanted = ("/mean_iou", "/max_f1", "/moderate/ap")
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
