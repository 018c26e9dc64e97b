"""`perception serve MODEL`: a trained model over HTTP, with a page to try it on."""

from __future__ import annotations

import argparse

from perception.errors import PerceptionError, UsageError

EXTRA = 'pip install "road-perception[serve]"; in a checkout: pip install -e ".[serve]"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL and where to listen."""
    parser.add_argument("model", metavar="MODEL", help="the folder of a run, or an exported file")
    parser.add_argument("--host", default="127.0.0.1", help="address (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="port (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument("--batch", type=int, default=8, help="images that share a forward pass")
    parser.add_argument("--max-megabytes", type=float, default=20.0, help="largest upload")
    parser.add_argument("--max-megapixels", type=float, default=25.0, help="largest image")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for one answer")
    parser.epilog = (
        "POST the bytes of an image to /predict: JSON, or a picture with ?format=png;\n"
        "?tasks=road,boxes chooses tasks, ?score=0.3 the lowest score of a box.\n"
        "The page is at /, health at /health, metrics at /metrics. No upload is kept."
    )


def run(args: argparse.Namespace) -> int:
    """Serves until interrupted; requests under way are answered first."""
    for name in ("batch", "max_megabytes", "max_megapixels", "timeout"):
        if getattr(args, name) <= 0:
            raise UsageError(f"--{name.replace('_', '-')}", str(getattr(args, name)), "above 0")
    try:
        import uvicorn

        from perception.serve.app import create_app
    except ImportError as error:
        raise PerceptionError("perception serve", f"no package {error.name}", do=EXTRA) from error
    from perception.experiments.load import load
    from perception.report.overlay import draw_prediction
    from perception.serve.limits import Limits

    model = load(args.model, device=args.device)
    app = create_app(
        lambda images, tasks: list(model.stream(images, tasks=tasks, batch=args.batch)),
        tasks=model.tasks,
        draw=lambda image, prediction, score: draw_prediction(image, prediction, score=score),
        limits=Limits(args.max_megabytes, args.max_megapixels, args.timeout),
        batch=args.batch,
    )
    print(f"http://{args.host}:{args.port} (Ctrl-C stops)", flush=True)
    uvicorn.run(
        app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=30
    )
    return 0
