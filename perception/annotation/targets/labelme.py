"""Frames as labelme files: `<name>.json` and beside it the image, byte for byte."""

from __future__ import annotations

from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings, Target, Written
from perception.annotation.scene import Scene
from perception.formats.labelme import Document, document, encode
from perception.structures import Frame


def _write(frame: Frame, _: Scene, name: str, __: str, ___: Settings) -> Written:
    assert isinstance(frame.image, EncodedImage)
    picture = f"{name}{frame.image.suffix}"
    content = frame.extra.get("labelme")
    if content is not None:  # a labelme file: rewritten as it stands
        annotation = Document({**content, "imagePath": picture})
    else:
        annotation = document(frame.shapes or (), picture, frame.image.size, flags=frame.flags)
    return Written({f"{name}.json": encode(annotation), picture: frame.image.encoded})


TARGET = Target(
    folders=("",),
    kept=lambda stem: stem,
    numbered=lambda number, _: f"{number:06d}",
    write=_write,
    drawn=False,
    lists=True,
)
