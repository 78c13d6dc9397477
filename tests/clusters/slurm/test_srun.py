"""`srun python train.py` without plaunch: SLURM's tasks are the ranks."""

import json
from pathlib import Path

import pytest

from tests.clusters.runs import PROGRAMS, PROJECT
from tests.testbed import Slurm

pytestmark = pytest.mark.hosts

ENV = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
FIT = str(PROGRAMS / "srun_fit.py")


def ranks(folder: Path) -> list[dict[str, object]]:
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]
    assert found
    return found


def test_tasks_of_srun_are_ranks_and_a_batch_script_is_alone(slurm: Slurm) -> None:
    """Two nodes of two tasks train one model, each sample once, without a word of torchrun. In the
    batch script itself, which has a rank and a number of tasks in its environment too, the same
    file starts the two processes of its node by itself.
    """
    shared = slurm.testbed.shared
    for name in ("srun", "batch"):
        (shared / name).mkdir()
    words = ["salloc", "--quiet", "--nodes=2", "--ntasks-per-node=2", "srun", "python", FIT]
    done = slurm.testbed.call("host0", [*words, "/shared/srun"], cwd="/shared", env=ENV)
    assert done.returncode == 0, done.stderr
    four = ranks(shared / "srun")
    assert [one["rank"] for one in four] == [0, 1, 2, 3]
    assert [one["local_rank"] for one in four] == [0, 1, 0, 1]
    assert [one["variables"] for one in four] == [[str(r), str(r % 2), "4"] for r in range(4)]
    assert len({one["node"] for one in four}) == 2
    assert sorted(x for one in four for x in one["seen"]) == list(range(16))  # type: ignore[attr-defined]  # JSON
    assert len({one["weight"] for one in four}) == 1
    assert "it is" not in done.stderr  # the Trainer's numbers are those of the job
    assert len(list((shared / "srun").rglob("*.ckpt"))) == 1

    words = " ".join(f"{name}={value}" for name, value in ENV.items())
    script = f"#!/bin/sh\nexec env {words} python {FIT} /shared/batch"
    job = slurm.submit(script, "--nodes=2", "--ntasks-per-node=2")
    slurm.wait_for(job, "COMPLETED", timeout_s=60)
    two = ranks(shared / "batch")
    assert [one["rank"] for one in two] == [0, 1]
    assert {one["world_size"] for one in two} == {2}
    assert sorted(x for one in two for x in one["seen"]) == list(range(16))  # type: ignore[attr-defined]  # JSON
