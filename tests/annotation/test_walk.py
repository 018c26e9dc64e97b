"""The walk a user makes: label (the example) → audit → convert → train → evaluate."""

from __future__ import annotations

from pathlib import Path

from drawing import convert

from perception.cli import main
from perception.files import packaged

SMALL = (
    "encoder.width=0.35",
    "encoder.output_stride=32",
    "augment.size=[64,208]",
    "trainer.workers=0",
    "trainer.report=false",
    "trainer.threads=1",
    "trainer.accelerator=cpu",
    "steps=2",
)


def test_the_example_is_audited_converted_trained_on_and_evaluated(tmp_path: Path, capsys):
    example = packaged("annotation", "example")
    road, city = tmp_path / "road", tmp_path / "city"

    assert main(["audit", str(example), "--workers", "1"]) == 0
    assert convert("kitti_road", example, road) == 0
    assert convert("cityscapes", example, city) == 0
    for data, root, head in (
        ("kitti_road", road, ["head/road=fcn", "head/boxes=none", "head/semantic=none"]),
        (
            "cityscapes",
            city,
            [
                "head/road=none",
                "head/boxes=none",
                "head.semantic.width=16",
                "head.semantic.skips={s8: 8}",
                "head.semantic.rates=[2]",
            ],
        ),
    ):
        part = "all" if data == "kitti_road" else "train"
        run = tmp_path / f"run_{data}"
        chosen = {"root": root, "train": part, "val": part, "batch_size": 2}
        words = [f"data={data}", *(f"data.sets.{data}.{k}={v}" for k, v in chosen.items()), *head]
        tasks = "[road]" if data == "kitti_road" else "[semantic]"

        assert (
            main(["train", *words, f"data.sets.{data}.tasks={tasks}", *SMALL, f"run_dir={run}"])
            == 0
        )
        capsys.readouterr()
        assert main(["evaluate", f"run={run}"]) == 0
        assert data in capsys.readouterr().out
