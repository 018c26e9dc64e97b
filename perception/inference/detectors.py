"""Exported detectors of other projects, asked as a run of ours is: an image in, a `Prediction` out.

Needs onnxruntime: pip install 'road-perception[export]'. What their outputs mean: conventions.py.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perception.errors import PerceptionError
from perception.inference.conventions import CONVENTIONS, decode, lay_in, tell_convention
from perception.inference.inputs import pixels_of
from perception.inference.model import Timing
from perception.ops import batched_nms
from perception.structures import Boxes, Image, Prediction

_COCO = (
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|"
    "fire hydrant|stop sign|parking meter|bench|bird|cat|dog|horse|sheep|cow|"
    "elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|"
    "skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|"
    "tennis racket|bottle|wine glass|cup|fork|knife|spoon|bowl|banana|apple|"
    "sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|"
    "potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|"
    "cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|vase|scissors|"
    "teddy bear|hair drier|toothbrush"
)
COCO = tuple(_COCO.split("|"))  # the names in order


class Detector:
    """An ONNX detector with its convention.

    Args:
        path: the .onnx file.
        convention: None: told from the shape of its output.
        names: its class names in order; None: those in the file, else COCO's 80.
        classes: our class by each of its own that is wanted, e.g. {"person": "pedestrian"}; None:
            all, by their own names.
        min_score: boxes below are left out.
        nms_iou: overlap above which the weaker of two boxes of a class goes.
        threads: of onnxruntime.

    Raises:
        PerceptionError: onnxruntime is missing, no ONNX file of a known convention, or a class that
            it does not have.
    """

    tasks = ("boxes",)

    def __init__(
        self,
        path: Path | str,
        *,
        convention: str | None = None,
        names: Sequence[str] | None = None,
        classes: Mapping[str, str] | None = None,
        min_score: float = 0.01,
        nms_iou: float = 0.65,
        threads: int = 1,
    ) -> None:
        self.path = Path(path)
        self.session = open_session(self.path, threads, ["CPUExecutionProvider"])
        meta = dict(self.session.get_modelmeta().custom_metadata_map or {})
        self.input = self.session.get_inputs()[0]
        self.size = _size(self.input.shape, meta)
        self.names = tuple(names or _names(meta) or COCO)
        self.convention = self._convention(convention)
        self.our_names, self.table = _table(self.path, self.names, classes)
        self.min_score, self.nms_iou = min_score, nms_iou
        self.timing = Timing(0.0, 0.0, 0.0)  # of the last prediction

    def predict(
        self,
        image: NDArray[np.uint8] | Path | str | Image,
        *,
        key: str = "",
        tasks: Sequence[str] | None = None,  # noqa: ARG002 - it has one
    ) -> Prediction:
        """The boxes of one image in its own pixels, strongest first."""
        pixels, key = pixels_of(image, key)
        size = pixels.shape[0], pixels.shape[1]
        started = time.perf_counter()
        tensor, letterbox = lay_in(pixels, self.size, self.convention)
        prepared = time.perf_counter()
        output = self._run(tensor)
        ran = time.perf_counter()
        found = decode(output, self.convention, self.size)
        label = self.table[found.label]
        kept = (label >= 0) & (found.score >= self.min_score)
        xyxy = np.clip(letterbox.undo(found.xyxy[kept]), 0, [size[1], size[0]] * 2)
        names = np.array(self.our_names, np.str_)[label[kept]]
        boxes = suppress(Boxes.of(xyxy, names, score=found.score[kept]), self.nms_iou)
        ended = time.perf_counter()
        self.timing = Timing(*(1e3 * t for t in (prepared - started, ran - prepared, ended - ran)))
        return Prediction(key, size, boxes=boxes)

    def _run(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output without its batch."""
        try:
            result: NDArray[np.float32] = np.asarray(
                self.session.run(None, {self.input.name: tensor})[0]
            )[0]
            return result
        except Exception as error:  # onnxruntime raises kinds of its own
            found = " ".join(str(error).split())[:200]
            raise PerceptionError(self.path, found, "a detector of one float image") from error

    def _convention(self, given: str | None) -> str:
        if given is not None and given not in CONVENTIONS:
            raise PerceptionError("convention", given, f"one of {', '.join(CONVENTIONS)}")
        shape = self._run(np.zeros((1, 3, *self.size), np.float32)).shape
        told = given or tell_convention(shape, len(self.names), self.size)
        if told is None:
            raise PerceptionError(
                self.path,
                f"an output of {'x'.join(map(str, shape))}",
                f"one of {', '.join(CONVENTIONS)} for {len(self.names)} classes",
                "Give its class names in order, or export it in one of these conventions.",
            )
        return told


def suppress(boxes: Boxes, nms_iou: float) -> Boxes:
    """Real boxes that suppression within each class leaves, strongest first."""
    xyxy = boxes.xyxy
    boxes = boxes[(xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])]
    groups = np.unique(boxes.names, return_inverse=True)[1].astype(np.int64)
    xyxy, score = np.ascontiguousarray(boxes.xyxy), np.ascontiguousarray(boxes.score)
    tensors = torch.from_numpy(xyxy), torch.from_numpy(score), torch.from_numpy(groups)
    kept = batched_nms(*tensors, nms_iou)
    assert isinstance(kept, torch.Tensor)
    return boxes[kept.numpy()]


def open_session(path: Path, threads: int, providers: Sequence[str] = ()) -> Any:
    """An onnxruntime session of a file; without providers CUDA where there is one, else the CPU.

    Raises:
        PerceptionError: onnxruntime or a provider is missing, or this is no ONNX file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise PerceptionError(
            path, "no onnxruntime", "", "Install it: pip install 'road-perception[export]'."
        ) from None
    if not path.is_file():
        raise PerceptionError(path, "no such file", "an .onnx file")
    there = onnxruntime.get_available_providers()
    if missing := [name for name in providers if name not in there]:
        raise PerceptionError("providers", missing[0], f"some of {', '.join(there)}")
    usual = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        chosen = list(providers) or [name for name in usual if name in there]
        return onnxruntime.InferenceSession(path, options, providers=chosen)
    except Exception as error:  # its own kinds
        found = " ".join(str(error).split())[:200]
        raise PerceptionError(path, found, "an ONNX file") from error


def _size(shape: Sequence[Any], meta: Mapping[str, str]) -> tuple[int, int]:
    """(height, width) of the input: fixed in the file, in its metadata, else 640x640."""
    if len(shape) == 4 and all(isinstance(n, int) for n in shape[2:]):
        return int(shape[2]), int(shape[3])
    told = _literal(meta.get("imgsz", ""))
    return (int(told[0]), int(told[1])) if isinstance(told, list) and len(told) == 2 else (640, 640)


def _names(meta: Mapping[str, str]) -> tuple[str, ...]:
    """Class names of the metadata, as ultralytics writes them."""
    told = _literal(meta.get("names", ""))
    if isinstance(told, dict):
        return tuple(str(told[k]) for k in sorted(told))
    return tuple(map(str, told)) if isinstance(told, (list, tuple)) else ()


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _table(
    path: Path, names: Sequence[str], classes: Mapping[str, str] | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Our class names, and the index into them of every one of `names`; -1: not wanted."""
    wanted = {name: name for name in names} if classes is None else classes
    for name in wanted:
        if name not in names:
            shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise PerceptionError(f"{path}: classes", f"no class {name}", f"some of {shown}")
    ours = tuple(dict.fromkeys(wanted.values()))
    rows = [ours.index(wanted[name]) if name in wanted else -1 for name in names]
    return ours, np.array(rows, np.int64)
