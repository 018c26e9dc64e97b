import os

import pytest
import torch
from torch import nn

from perception.errors import PerceptionError
from perception.experiments import checkpoint


def test_what_was_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "a.pt", {"weights": {"w": torch.ones(2)}, "step": 3})

    state = checkpoint.load(tmp_path / "a.pt")

    assert state["step"] == 3
    assert torch.equal(state["weights"]["w"], torch.ones(2))


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PerceptionError, match=r"last\.pt: found cannot write: No space left"):
        checkpoint.save(path, {"step": 2})

    monkeypatch.undo()
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


def test_another_architecture_is_reported_key_by_key():
    model, other = nn.Linear(2, 2), nn.Linear(3, 2, bias=False)
    weights = {**other.state_dict(), "extra": torch.zeros(1)}

    with pytest.raises(PerceptionError) as error:
        checkpoint.load_weights(model, weights, "best.pt")

    for part in ("1 missing (bias)", "1 surplus (extra)", "weight (2, 3) instead of (2, 2)"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04broken"])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)

    with pytest.raises(PerceptionError, match=r"x\.pt: found .* expected a checkpoint"):
        checkpoint.load(tmp_path / "x.pt")
