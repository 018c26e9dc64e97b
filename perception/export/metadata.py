"""What an exported file says about itself."""

from __future__ import annotations

from typing import Any

from perception._version import __version__
from perception.export.graph import suppresses
from perception.inference.answers import INPUT, output_names
from perception.inference.model import Model
from perception.models.heads.boxes import BoxHead

LICENCE = (
    "Weights inherit the terms of the data they were trained on; many road data sets allow "
    "research only."
)


def describe(
    model: Model, tasks: tuple[str, ...], *, run: str, size: tuple[int, int] | None, nms: bool
) -> dict[str, Any]:
    """The metadata of a model's file, as plain values.

    `input.size`: the (height, width) that images are resized to first, None: their own;
    `input.fixed`: the only one that the file takes, None: any.
    """
    return {
        "format": 1,
        "project": f"road-perception {__version__}",
        "run": run,
        "input": {
            "name": INPUT,
            "layout": "NHWC",
            "type": "uint8",
            "colours": "RGB",
            "size": list(model.size) if model.size else None,
            "fixed": list(size) if size else None,
        },
        "tasks": {task: _task(model, task, nms=nms) for task in tasks},
        "licence": LICENCE,
    }


def _task(model: Model, task: str, *, nms: bool) -> dict[str, Any]:
    head = model.network.head(task)
    facts: dict[str, Any] = {"kind": str(head.kind)}
    suppressed = suppresses(head, nms)
    facts["outputs"] = list(output_names(task, head.kind, suppressed=suppressed))
    if scheme := model.schemes.get(task):
        facts["scheme"] = scheme.name
        facts["classes"] = [
            {
                "name": c.name,
                "id": c.id,
                "train_id": c.train_id,
                "colour": list(c.color),
                "category": c.category,
                "category_id": c.category_id,
                "has_instances": c.has_instances,
                "ignore": c.ignore,
            }
            for c in scheme.classes
        ]
    if isinstance(head, BoxHead):
        rules = head.rules
        facts["classes"] = [{"name": name} for name in rules.classes]
        facts |= {"min_score": rules.min_score, "nms_iou": rules.nms_iou}
        facts |= {"max_boxes": rules.max_boxes, "suppression": rules.suppression}
        facts["suppressed"] = suppressed
    if head.unit:
        facts["unit"] = head.unit
    return facts
