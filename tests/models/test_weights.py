from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from perception.errors import PerceptionError
from perception.models.encoders import MobileNetV1, MobileNetV2
from perception.models.weights import compare, load_weights, published_file, read_weights


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_both_formats_come_back_bit_equal(tmp_path, suffix):
    state = small().state_dict()
    path = tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)

    again = read_weights(path)

    assert set(again) == set(state)
    assert all(torch.equal(again[key], state[key]) for key in state)


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_an_enclosing_table_is_taken_off(tmp_path, wrap):
    torch.save(wrap(small().state_dict()), tmp_path / "w.pth")

    assert "0.weight" in read_weights(tmp_path / "w.pth")


def test_the_prefix_of_data_parallel_modules_is_taken_off(tmp_path):
    state = {f"module.{key}": value for key, value in small().state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    loaded = small()

    load_weights(loaded, read_weights(tmp_path / "w.pth"), "w.pth")

    for key, value in loaded.state_dict().items():
        assert torch.equal(value, state[f"module.{key}"])


class Danger:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Danger()), "expected safetensors or a plain state dict"),
        (b"not weights at all", "expected safetensors or a plain state dict"),
        (b"", "expected safetensors or a plain state dict"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_anything_but_tensors_is_refused_and_nothing_is_executed(
    tmp_path, monkeypatch, content, message, suffix
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)

    with pytest.raises(PerceptionError, match=message):
        read_weights(path)

    assert not (tmp_path / "executed").exists()


def test_values_that_are_no_tensors_are_named(tmp_path):
    torch.save({"0.weight": torch.zeros(1), "epoch": 3}, tmp_path / "w.pth")

    with pytest.raises(PerceptionError, match=r"w\.pth: epoch: found no tensor"):
        read_weights(tmp_path / "w.pth")


def test_a_missing_file_is_named():
    with pytest.raises(PerceptionError, match=r"nowhere\.pth: found no such file"):
        MobileNetV2(width=0.35, weights="nowhere.pth")


def test_what_does_not_fit_is_named_key_by_key_and_nothing_is_loaded(caplog):
    module = small()
    before = module[0].bias.clone()
    state = module.state_dict() | {"0.weight": torch.zeros(4, 3, 3, 3), "2.weight": torch.zeros(1)}
    state["0.bias"] = state["0.bias"] + 1
    del state["1.bias"]

    with pytest.raises(PerceptionError) as caught:
        load_weights(module, state, "w.pth")

    message = str(caught.value)
    assert "1 missing (1.bias), 1 unknown (2.weight), 1 other shape (0.weight: file" in message
    assert "file (4, 3, 3, 3), model (4, 3, 1, 1))" in message
    assert "w.pth: unknown: 2.weight" in caplog.text
    assert torch.equal(module[0].bias, before)


def test_files_from_before_the_batch_counter_fit():
    state = {k: v for k, v in small().state_dict().items() if "num_batches" not in k}

    assert compare(small(), state).perfect


def test_keys_known_to_be_unneeded_are_reported_not_refused():
    state = small().state_dict() | {"classifier.weight": torch.zeros(1)}

    fit = load_weights(small(), state, "w.pth", unused=("classifier.",))

    assert fit.unused == ("classifier.weight",)


def publish(folder: Path, content: bytes) -> str:
    """A file:// address whose name ends in the hash of `content`."""
    digits = hashlib.sha256(content).hexdigest()[:8]
    path = folder / f"net-{digits}.pth"
    path.write_bytes(content)
    return path.as_uri()


def test_a_published_file_is_fetched_once_and_its_hash_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "cache"))
    url = publish(tmp_path, b"weights")

    path = published_file(url)
    (tmp_path / path.name).unlink()  # the second call needs no source

    assert published_file(url) == path
    assert path.read_bytes() == b"weights"
    path.write_bytes(b"damaged")
    with pytest.raises(PerceptionError, match=r"found SHA-256 .*Delete it and put the file of"):
        published_file(url)


def test_without_a_network_the_message_says_which_file_goes_where(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(MobileNetV2, "url", (tmp_path / "absent-01234567.pth").as_uri())

    with pytest.raises(PerceptionError) as caught:
        MobileNetV2(width=0.35, weights="imagenet")

    assert f"Put that file at {tmp_path}/checkpoints/absent-01234567.pth" in str(caught.value)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_an_encoder_without_a_published_file_says_what_to_do():
    with pytest.raises(PerceptionError, match=r"publishes none for MobileNetV1 of width 1\.0; set"):
        MobileNetV1(weights="imagenet")
