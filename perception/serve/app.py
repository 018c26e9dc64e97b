"""The HTTP end points: an image in, JSON or a picture out; a page, health and metrics beside them.

Nothing is stored: an upload lives in memory until it is answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from perception._version import __version__
from perception.errors import PerceptionError
from perception.serve.answers import answer_values, decoded, encoded
from perception.serve.engine import Engine, Predictor
from perception.serve.limits import Limits, RequestError
from perception.structures import Prediction


@dataclass
class Counters:
    """What the server has done since it started."""

    answered: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0  # from the body's last byte to the answer, summed
    started: float = field(default_factory=time.time)


def create_app(
    predictor: Predictor,
    *,
    tasks: tuple[str, ...],
    draw: Callable[[Any, Prediction, float], Any],
    title: str = "road-perception",
    limits: Limits | None = None,
    batch: int = 8,
) -> FastAPI:
    """The application.

    Args:
        predictor: predicts several (H, W, 3) uint8 RGB images of one size.
        tasks: what may be asked for.
        draw: makes a picture of an image, its prediction and the lowest score of a drawn box.
        title: shown on the page.
        limits: what is refused.
        batch: images that share a forward pass at most.
    """
    limits = limits or Limits()
    engine = Engine(predictor, batch=batch, waiting=limits.waiting)
    counters = Counters()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        yield
        await engine.stop()

    app = FastAPI(title=title, version=__version__, lifespan=lifespan)

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        counters.refused += 1
        return JSONResponse({"error": error.sentence}, error.status)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        counters.failed += 1
        return JSONResponse({"error": "The server failed on this request."}, 500)

    @app.get("/", response_class=HTMLResponse)
    async def page() -> str:
        text = files("perception.serve").joinpath("page.html").read_text("utf-8")
        return text.replace("{{title}}", title)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "tasks": tasks, "version": __version__}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        return _metrics(counters, engine)

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        wanted = _tasks(request.query_params.get("tasks"), tasks)
        score = _score(request.query_params.get("score"))
        form = request.query_params.get("format", "json")
        if form not in ("json", "png"):
            raise RequestError(422, f"format is {form!r}; it is json or png.")
        body = await _body(request, limits)
        started = time.perf_counter()
        try:
            pixels = await run_in_threadpool(decoded, body, limits.megapixels)
        except PerceptionError as error:
            raise RequestError(422, f"{error.found[:1].upper()}{error.found[1:]}.") from None
        try:
            prediction = await asyncio.wait_for(engine.predict(pixels, wanted), limits.seconds)
        except TimeoutError:
            raise RequestError(504, f"No answer within {limits.seconds:g} seconds.") from None
        if form == "png":
            picture = await run_in_threadpool(draw, pixels, prediction, score)
            content = await run_in_threadpool(encoded, picture)
            answer: Response = Response(content, media_type="image/png")
        else:
            answer = JSONResponse(await run_in_threadpool(answer_values, prediction, score))
        counters.answered += 1
        counters.seconds += time.perf_counter() - started
        return answer

    return app


# ---------------------------------------------------------------------------- helpers


async def _body(request: Request, limits: Limits) -> bytes:
    """The whole body, read no further than the limit."""
    most = int(limits.megabytes * 1e6)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise RequestError(413, f"The body is larger than {limits.megabytes:g} MB.")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise RequestError(413, f"The body is larger than {limits.megabytes:g} MB.")
        parts.append(part)
    if not size:
        raise RequestError(422, "The body is empty; send the bytes of an image file.")
    return b"".join(parts)


def _tasks(text: str | None, known: tuple[str, ...]) -> tuple[str, ...] | None:
    if not text:
        return None
    wanted = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    if unknown := [each for each in wanted if each not in known]:
        raise RequestError(422, f"No task {unknown[0]!r}; there are {', '.join(known)}.")
    return wanted


def _score(text: str | None) -> float:
    try:
        value = float(text) if text else 0.05
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise RequestError(422, f"score is {text!r}; it is a number from 0 to 1.")
    return value


def _metrics(counters: Counters, engine: Engine) -> str:
    """Prometheus' text format."""
    values = {
        "requests_answered_total": counters.answered,
        "requests_refused_total": counters.refused,
        "requests_failed_total": counters.failed,
        "request_seconds_total": round(counters.seconds, 6),
        "forward_passes_total": engine.passes,
        "images_total": engine.images,
        "uptime_seconds": round(time.time() - counters.started, 3),
    }
    return "".join(f"perception_{name} {value}\n" for name, value in values.items())
