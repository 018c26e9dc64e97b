"""The server: every good image is answered, every bad request refused with one sentence."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from perception.serve.app import create_app
from perception.serve.engine import Engine
from perception.serve.limits import Limits, RequestError
from perception.structures import Boxes, Prediction


def predict(images, tasks) -> list[Prediction]:
    """Road where the image is bright; one box with the size of the image."""
    answers = []
    for image in images:
        height, width = image.shape[:2]
        boxes = Boxes.of([[0, 0, width, height], [0, 0, 4, 4]], ["car", "car"], score=[0.9, 0.2])
        road = (image.mean(2) / 255).astype(np.float32)
        wanted = {"road": road, "boxes": boxes}
        chosen = {name: wanted[name] for name in tasks or wanted}
        answers.append(Prediction("", (height, width), **chosen))
    return answers


def picture(pixels: NDArray[np.uint8], form: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def shades(png: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


GREY = np.full((20, 30, 3), 51, np.uint8)


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = create_app(
        predict,
        tasks=("road", "boxes"),
        draw=lambda image, prediction, score: 255 - image,
        limits=Limits(megabytes=0.1, megapixels=0.5, seconds=5),
    )
    with TestClient(app) as client:
        yield client


def test_an_image_is_answered_with_a_mask_and_boxes_in_its_own_pixels(client):
    answer = client.post("/predict", content=picture(GREY)).json()

    assert (answer["height"], answer["width"]) == (20, 30)
    assert (shades(answer["results"]["road"]["png"]) == 51).all()
    boxes = answer["results"]["boxes"]["boxes"]
    assert [(b["name"], b["score"], b["xyxy"]) for b in boxes] == [
        ("car", 0.9, [0, 0, 30, 20]),
        ("car", 0.2, [0, 0, 4, 4]),
    ]


def test_tasks_and_the_lowest_score_are_chosen_in_the_address(client):
    answer = client.post("/predict?tasks=boxes&score=0.5", content=picture(GREY)).json()

    assert list(answer["results"]) == ["boxes"]
    assert len(answer["results"]["boxes"]["boxes"]) == 1


def test_a_picture_comes_back_as_png(client):
    answer = client.post("/predict?format=png", content=picture(GREY))

    assert answer.headers["content-type"] == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(answer.content))) == 204).all()


def test_a_turned_photograph_is_predicted_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = client.post("/predict", content=picture(GREY, "JPEG", exif=exif)).json()

    assert (answer["height"], answer["width"]) == (30, 20)


BAD = {
    "no image": (b"hello", "", 422, "The body is no whole image that can be read."),
    "an empty body": (b"", "", 422, "The body is empty; send the bytes of an image file."),
    "half an image": (
        picture(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))[:900],
        "",
        422,
        "The body is no whole image that can be read.",
    ),
    "too many bytes": (bytes(200_000), "", 413, "The body is larger than 0.1 MB."),
    "too many pixels": (
        picture(np.zeros((1000, 1000, 3), np.uint8)),
        "",
        422,
        "The image has 1000 x 1000 pixels, above 0.5 million.",
    ),
    "an unknown task": (
        picture(GREY),
        "?tasks=lanes",
        422,
        "No task 'lanes'; there are road, boxes.",
    ),
    "an odd score": (
        picture(GREY),
        "?score=nan",
        422,
        "score is 'nan'; it is a number from 0 to 1.",
    ),
    "an unknown format": (picture(GREY), "?format=bmp", 422, "format is 'bmp'; it is json or png."),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_request_is_refused_with_one_sentence(client, case):
    body, words, status, sentence = BAD[case]

    answer = client.post(f"/predict{words}", content=body)

    assert (answer.status_code, answer.json()) == (status, {"error": sentence})


def test_the_counters_tell_what_was_answered_and_refused(client):
    client.post("/predict", content=picture(GREY))
    client.post("/predict", content=b"hello")

    lines = dict(line.split() for line in client.get("/metrics").text.splitlines())

    assert lines["perception_requests_answered_total"] == "1"
    assert lines["perception_requests_refused_total"] == "1"
    assert lines["perception_images_total"] == "1"


def test_the_page_and_health_name_the_tasks(client):
    assert client.get("/health").json()["tasks"] == ["road", "boxes"]
    assert "Drop an image" in client.get("/").text


def test_a_network_that_fails_is_no_traceback_and_the_next_request_is_answered():
    calls = []

    def once(images, tasks):
        calls.append(len(images))
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return predict(images, tasks)

    app = create_app(once, tasks=("road",), draw=lambda *_: GREY)
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/predict", content=picture(GREY)).status_code == 500
        assert client.post("/predict", content=picture(GREY)).status_code == 200


def test_requests_that_wait_together_share_a_pass_if_their_images_are_of_one_size():
    gate, sizes = threading.Event(), []

    def slow(images, tasks):
        gate.wait(5)
        sizes.append([image.shape[0] for image in images])
        return predict(images, tasks)

    async def run() -> list[Prediction]:
        engine = Engine(slow, batch=3)
        await engine.start()
        heights = [20, 20, 40, 20, 20, 20]
        asked = [
            asyncio.create_task(engine.predict(np.zeros((h, 8, 3), np.uint8), None))
            for h in heights
        ]
        await asyncio.sleep(0.05)
        gate.set()
        answers = list(await asyncio.gather(*asked))
        await engine.stop()
        return answers

    answers = asyncio.run(run())

    assert sizes == [[20, 20, 20], [40], [20, 20]]
    assert [a.size[0] for a in answers] == [20, 20, 40, 20, 20, 20]


def test_more_requests_than_may_wait_are_refused_and_the_others_answered():
    gate = threading.Event()

    def slow(images, tasks):
        gate.wait(5)
        return predict(images, tasks)

    async def run() -> tuple[int, int]:
        engine = Engine(slow, batch=1, waiting=2)
        await engine.start()
        image = np.zeros((8, 8, 3), np.uint8)
        asked = [asyncio.create_task(engine.predict(image, None)) for _ in range(6)]
        await asyncio.sleep(0.05)
        gate.set()
        results = await asyncio.gather(*asked, return_exceptions=True)
        await engine.stop()
        refused = [r for r in results if isinstance(r, RequestError) and r.status == 503]
        return len(refused), len(results) - len(refused)

    refused, answered = asyncio.run(run())

    assert (refused, answered) == (4, 2)
