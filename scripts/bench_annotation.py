#!/usr/bin/env python3
"""Speed of the converter, as ratios to the work that nobody can avoid, measured in one run.

    python scripts/bench_annotation.py            # drawing, one frame, 40 files
    python scripts/bench_annotation.py --files 1000 --height 512

Drawing: the index canvas of 30 polygons of 100 vertices at 1024x2048 against Pillow drawing the
same polygons into one canvas; the bar is 1.5. Files: CPU time of converting to all three targets
against decoding and encoding the same images; the bar is 1.3. Memory: the peak of the process after
the first tenth of the files and at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw

from perception.annotation import formats
from perception.annotation.classes import default_table
from perception.annotation.convert import convert_folder
from perception.annotation.images import EncodedImage
from perception.annotation.interfaces import Settings
from perception.annotation.raster import paint
from perception.annotation.scene import compose
from perception.structures import Frame, Shape

SIZE = (1024, 2048)
LABELS = ("road", "sidewalk", "car", "person", "building", "vegetation", "truck", "pole")


def polygons(
    count: int, vertices: int, radius: tuple[int, int], seed: int = 0, *, scale: float = 1.0
) -> list[Shape]:
    """Star-shaped outlines on a picture of SIZE, or `scale` times as large."""
    rng = np.random.default_rng(seed)
    shapes = []
    for number in range(count):
        angle = np.sort(rng.uniform(0, 2 * np.pi, vertices))
        reach = rng.uniform(*radius) * rng.uniform(0.7, 1, vertices)
        centre = rng.uniform((0, 0), SIZE[::-1])
        points = centre + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        shapes.append(Shape(LABELS[number % len(LABELS)], "polygon", points * scale))
    return shapes


def seconds(run: Callable[[], Any], repeats: int = 15) -> float:
    """Median CPU time of one run."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def plain_pillow(points: list[list[tuple[float, float]]]) -> PIL.Image.Image:
    """What nobody can avoid: the polygons, one canvas."""
    image = PIL.Image.new("L", SIZE[::-1], 0)
    pen = PIL.ImageDraw.Draw(image)
    for number, outline in enumerate(points, 1):
        pen.polygon(outline, fill=number)
    return image


def bench_drawing() -> None:
    for vertices, radius in ((20, (20, 150)), (100, (100, 400))):
        shapes = polygons(30, vertices, radius)
        points = [[(x, y) for x, y in shape.points.tolist()] for shape in shapes]
        plain = seconds(lambda points=points: plain_pillow(points))
        ours = seconds(lambda shapes=shapes: paint(shapes, SIZE))
        same = np.array_equal(paint(shapes, SIZE), np.asarray(plain_pillow(points)))
        print(
            f"index canvas, 30 polygons of {vertices:3d}: Pillow {1e3 * plain:.2f} ms, ours "
            f"{1e3 * ours:.2f} ms, ratio {ours / plain:.2f} (bar 1.5 at 100), equal: {same}"
        )


def bench_frame() -> None:
    """The five label files of one Cityscapes frame against cityscapesScripts' converters."""
    try:
        from cityscapesscripts.preparation.json2instanceImg import json2instanceImg
        from cityscapesscripts.preparation.json2labelImg import json2labelImg
    except ImportError:
        print("one Cityscapes frame: cityscapesScripts is not installed")
        return
    warnings.simplefilter("ignore")
    settings = Settings(default_table())
    target = formats.target("cityscapes")
    frame = Frame("a", EncodedImage(SIZE, plain=True), shapes=tuple(polygons(30, 100, (100, 400))))
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)

        def ours() -> None:
            scene, _ = compose(frame.shapes or (), SIZE, settings.table)
            written = target.write(frame, scene, "a_000000_000000", "a", settings)
            for path, data in written.outputs.items():
                (out / Path(path).name).write_bytes(data)

        def theirs() -> None:
            source = str(out / "a_000000_000000_gtFine_polygons.json")
            for kind in ("ids", "trainIds", "color"):
                json2labelImg(source, str(out / f"{kind}.png"), kind)
            json2instanceImg(source, str(out / "instances.png"), "ids")

        own, other = seconds(ours, 7), seconds(theirs, 7)
    print(
        f"one Cityscapes frame (5 files): cityscapesScripts {1e3 * other:.0f} ms, ours "
        f"{1e3 * own:.0f} ms, ratio {own / other:.2f} (bar 1)"
    )


def write_files(folder: Path, count: int, height: int) -> None:
    """Labelled frames with a picture that compresses like a photograph."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    width, scale = 2 * height, height / SIZE[0]
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture = np.clip(smooth + rng.integers(-6, 7, smooth.shape), 0, 255).astype(np.uint8)
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    for number in range(count):
        shapes = [
            {
                "label": s.label,
                "points": s.points.round(2).tolist(),
                "group_id": None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for s in polygons(30, 100, (100, 400), number, scale=scale)
        ]
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imageData": None,
            "imagePath": f"{number:04d}.png",
            "imageHeight": height,
            "imageWidth": width,
        }
        (folder / f"{number:04d}.png").write_bytes(encoded)
        (folder / f"{number:04d}.json").write_text(json.dumps(content))


def bench_files(count: int, height: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "src", count, height)
        start = time.process_time()
        for _ in range(3):  # each target reads each image
            for path in sorted((folder / "src").glob("*.png")):
                pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
                cv2.imencode(".png", pixels)
        images = time.process_time() - start
        peaks = []
        start = time.process_time()
        for target in ("kitti_road", "kitti_object", "cityscapes"):
            seen = 0

            def watch(results: Any, total: int) -> Any:
                nonlocal seen
                for result in results:
                    seen += 1
                    if seen in (max(1, total // 10), total):
                        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
                    yield result

            begin = time.process_time()
            report = convert_folder(
                "labelme",
                target,
                folder / "src",
                folder / target,
                Settings(default_table()),
                workers=1,
                progress=watch,
            )
            assert not report.errors
            each = (time.process_time() - begin) / count
            print(f"{target}: {1e3 * each:.1f} ms of CPU for each file")
        ours = time.process_time() - start
    print(
        f"{count} files of {height}x{2 * height} to three targets: decoding and encoding the "
        f"images {images:.1f} s of CPU, ours {ours:.1f} s, ratio {ours / images:.2f} (bar 1.3)"
    )
    print(f"peak memory after a tenth and at the end of each target: {peaks} MiB")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--height", type=int, default=SIZE[0], help="of the images of the files")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    for name in ("kitti_road", "kitti_object", "cityscapes"):
        formats.target(name)
    bench_drawing()
    bench_frame()
    bench_files(args.files, args.height)
    return 0


if __name__ == "__main__":
    sys.exit(main())
