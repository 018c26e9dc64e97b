"""A sweep ends in a table of its jobs."""

from __future__ import annotations

import csv
import json

from perception.runs.sweep import read_job, tell_sweep


def test_a_sweep_ends_in_a_table_of_jobs_overrides_and_scores(tmp_path, capsys):
    scores = {"s/road/max_f1": 0.5, "s/road/precision": 0.25}
    for name in ("0", "1", "2"):
        (tmp_path / name).mkdir()
    (tmp_path / "0" / "evaluation.json").write_text(json.dumps({"metrics": scores}))
    (tmp_path / "1" / "evaluation.csv").write_text("step,s/road/max_f1\n1,0.1\n2,0.75\n")
    words = [["steps=2", f"seed={i}"] for i in range(3)]
    codes = (0, 0, 1)

    jobs = [read_job(tmp_path / str(i), words[i], codes[i]) for i in range(3)]
    tell_sweep(tmp_path, jobs)

    with (tmp_path / "sweep.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["job", "exit_code", "overrides", "s/road/max_f1", "s/road/precision"],
        ["0", "0", "steps=2 seed=0", "0.5", "0.25"],
        ["1", "0", "steps=2 seed=1", "0.75", ""],
        ["2", "1", "steps=2 seed=2", "", ""],
    ]
    lines = capsys.readouterr().out.splitlines()
    assert any("seed=1" in line and "75.00" in line for line in lines)
    assert any("seed=2" in line and "no, exit code 1" in line for line in lines)
    assert not any("steps=2" in line for line in lines)  # the same in all jobs
