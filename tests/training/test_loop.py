import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from perception.errors import PerceptionError
from perception.experiments import checkpoint
from perception.training.logs import read_log
from perception.training.loop import one_step, resume_config, save, start, train


def weights(folder, name="last"):
    return checkpoint.load(folder / f"{name}.pt")["weights"]


def assert_equal_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_a_run_leaves_weights_logs_and_configuration(tiny, tmp_path):
    folder = train(tiny("trainer.ema=0.9", "trainer.evaluate_every=2"))

    assert sorted(p.name for p in folder.iterdir()) == [
        "best.pt",
        "config.yaml",
        "data.json",
        "evaluation.csv",
        "last.pt",
        "model.safetensors",
        "train.csv",
    ]
    rows = read_log(folder / "train.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["loss"] > 0 for row in rows)


def test_a_resumed_run_ends_bit_equal(tiny):
    """Mid-epoch (two frames of four per step), with AdamW moments, dropout and the average."""
    whole = train(tiny("trainer.ema=0.9", "head.semantic.dropout=0.5", run="whole"))
    config = tiny("trainer.ema=0.9", "head.semantic.dropout=0.5", run="parts")
    run = start(config)
    stream = run.experiment.streams(run.fabric)[0].iterate(0)
    for _ in range(3):
        one_step(run, [[next(stream)]])
        run.step += 1
    save(run)

    parts = train(resume_config(run.folder))

    assert_equal_weights(weights(whole), weights(parts))
    a, b = (checkpoint.load(f / "last.pt")["evaluated"] for f in (whole, parts))
    assert_equal_weights(a, b)


def test_workers_change_nothing(tiny):
    alone = train(tiny("steps=2", run="alone"))
    helped = train(tiny("steps=2", "trainer.workers=2", run="helped"))

    assert_equal_weights(weights(alone), weights(helped))


def test_a_head_without_targets_stays_bit_equal_under_adamw(tiny):
    """Also after a step in which it was trained: no gradient, no decay, no moments."""
    run = start(tiny())
    stream = run.experiment.streams(run.fabric)[0].iterate(0)
    one_step(run, [[next(stream)]])
    (one,) = run.experiment.sets
    kept = tuple(s for s in one.train.sources if s.task.name != "boxes")
    sets = (replace(one, train=replace(one.train, sources=kept)),)
    run.experiment = replace(run.experiment, sets=sets)
    model = run.inner.model
    head = {k: v.clone() for k, v in model.head("boxes").state_dict().items()}
    encoder = {k: v.clone() for k, v in model.encoder.state_dict().items()}

    for _ in range(2):
        one_step(run, [[next(stream)]])

    assert_equal_weights(head, model.head("boxes").state_dict())
    assert any(not torch.equal(encoder[k], v) for k, v in model.encoder.state_dict().items())


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_frames(tiny):
    run = start(tiny())
    for parameter in run.inner.model.head("road").parameters():
        parameter.data.fill_(float("nan"))
    batch = run.experiment.streams(run.fabric)[0].batch(0)

    with pytest.raises(PerceptionError, match=rf"road loss nan.*{batch.keys[0]}"):
        one_step(run, [[batch]])


def test_accumulated_gradients_are_means_over_micro_batches(tiny):
    """Two micro-batches: the gradient is the mean of what each gives alone."""
    run = start(tiny("optimizer=sgd", "optimizer.lr=0", "encoder.frozen_batch_norm=true"))
    run.inner.model.eval()  # no dropout, fixed statistics
    run.joint.train = lambda: None
    stream = run.experiment.streams(run.fabric)[0]
    batches = [stream.batch(0), stream.batch(1)]
    weight = run.inner.model.head("semantic").logits.weight

    alone = []
    for batch in batches:
        one_step(run, [[batch]])
        alone.append(weight.grad.clone())
    one_step(run, [batches])

    torch.testing.assert_close(weight.grad, (alone[0] + alone[1]) / 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_killed_run_resumes_to_bit_equal_weights(words, tmp_path, number):
    more = ("steps=12", "trainer.checkpoint_every=2")
    whole = _command("train", *words(*more, run="whole"))
    assert whole.wait(300) == 0
    killed = _command("train", *words(*more, run="killed"))
    log = tmp_path / "killed" / "train.csv"
    while len(read_log(log)) < 5:
        time.sleep(0.05)
    killed.send_signal(number)
    assert killed.wait(60) != 0

    assert _command("train", f"resume={tmp_path / 'killed'}").wait(300) == 0

    assert_equal_weights(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert [r["step"] for r in read_log(log)] == list(range(1, 13))


def _command(*words):
    return subprocess.Popen([sys.executable, "-m", "perception", *words])


def test_the_log_of_a_crash_loses_only_the_cut_row(tmp_path):
    log = tmp_path / "train.csv"
    log.write_text("step,loss\n1,0.5\n2,0.4\n3,0.")
    with log.open("a") as file:
        file.write("\n4")

    assert read_log(log) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.4},
        {"step": 3, "loss": 0.0},
    ]


@pytest.mark.parametrize(
    "balance",
    [
        ("balance.warmup=2", "balance.window=2"),
        ("balance=dwa", "balance.window=1"),
        ("balance=famo",),
        ("balance=gradnorm",),
        ("balance=pcgrad",),
    ],
    ids=["equal", "dwa", "famo", "gradnorm", "pcgrad"],
)
def test_a_resumed_run_ends_bit_equal_with_every_balance(tiny, balance):
    whole = train(tiny(*balance, run="whole"))
    run = start(tiny(*balance, run="parts"))
    stream = run.experiment.streams(run.fabric)[0].iterate(0)
    for _ in range(3):
        one_step(run, [[next(stream)]])
        run.step += 1
    save(run)

    parts = train(resume_config(run.folder))

    assert_equal_weights(weights(whole), weights(parts))
    last = read_log(whole / "train.csv")[-1]
    assert any(name.startswith(("weight/", "gradient/", "share/")) for name in last)
