"""What an exported file calls its inputs and outputs: written by export, read by its back ends.

| kind | outputs of a task `T` |
|---|---|
| mask, values | `T` (N, H, W) float32: probability or value |
| classes | `T` (N, H, W) uint8 train ids, `T_score` (N, H, W) float32 |
| boxes | `T` (D, 4) xyxy, `T_scores` (D,), `T_labels` (D,), `T_image_index` (D,), best first |
| boxes without suppression | `T` (N, M, 4) xyxy, `T_scores` (N, M, K) |

Those of the task `boxes` are `boxes`, `scores`, `labels`, `image_index`. Everything is in pixels
of the input image.
"""

from __future__ import annotations

from perception.tasks import Kind

INPUT = "image"  # (N, H, W, 3) uint8 RGB
KEY = "perception"  # of the metadata, JSON, in every format
SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ".pt2": "torch"}  # of exported files
_PARTS = {
    Kind.MASK: ("",),
    Kind.VALUES: ("",),
    Kind.CLASSES: ("", "score"),
    Kind.BOXES: ("", "scores"),
}
_SUPPRESSED = ("", "scores", "labels", "image_index")


def output_names(task: str, kind: Kind, *, suppressed: bool = False) -> tuple[str, ...]:
    """Names of the outputs of a task, in their order."""
    parts = _SUPPRESSED if suppressed and kind is Kind.BOXES else _PARTS[kind]
    if task == "boxes":
        return tuple(part or task for part in parts)
    return tuple(f"{task}_{part}" if part else task for part in parts)
