"""The scripts in slurm/ are batch scripts that a real SLURM runs, as they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.runs import PROJECT
from tests.testbed import Slurm

pytestmark = pytest.mark.hosts

TRAIN = """\
from os import environ
from launcher import report
print("rank", environ["RANK"], "of", environ["WORLD_SIZE"], "on", environ["LOCAL_WORLD_SIZE"])
report({"task": environ.get("SLURM_ARRAY_TASK_ID")})
"""
# A stand-in for NVIDIA's library tells of eight GPUs on each host; SLURM has as many.
GPUS = {
    "PYTHONPATH": str(PROJECT / "tests/fakes"),
    "PLAUNCH_GPU_DRIVER": "/shared/gpus.json",
}

Submit = Callable[[str], str]


@pytest.fixture
def submit(slurm: Slurm, tmp_path: Path) -> Submit:
    """``sbatch slurm/NAME`` in a folder that has a train.py, by a user who has python3 in PATH."""
    folder = slurm.testbed.shared / tmp_path.name
    shutil.copytree(PROJECT / "slurm", folder / "slurm")
    (folder / "train.py").write_text(TRAIN)
    gpus = [{"uuid": f"GPU-{number}"} for number in range(8)]
    (slurm.testbed.shared / "gpus.json").write_text(json.dumps({"gpus": gpus}))

    def submit(name: str) -> str:
        words = ["sbatch", "--parsable", f"slurm/{name}.sbatch"]
        done = slurm.testbed.call("host0", words, cwd=f"/shared/{tmp_path.name}", env=GPUS)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return submit


def end(slurm: Slurm, folder: str, job: str, task: str = "") -> dict[str, Any]:
    """Wait for a job's success, and return its result."""
    whole = slurm.testbed.shared / folder
    slurm.wait_for(f"{job}{task}", ("COMPLETED", "FAILED", "CANCELLED"), 120)
    said = (whole / f"slurm-{job}{task}.err").read_text()
    (run_dir,) = (whole / "plaunch_runs").glob(f"*-{job}{task}")
    result: dict[str, Any] = json.loads((run_dir / "result.json").read_text())
    assert result["state"] == "succeeded", said
    return result


@pytest.mark.parametrize(
    ("name", "nodes"), [("single_node", 1), ("multi_node", 4), ("preemptible", 2)]
)
def test_a_script_of_several_nodes(
    slurm: Slurm, submit: Submit, tmp_path: Path, name: str, nodes: int
) -> None:
    """One rank a GPU on each node."""
    job = submit(name)
    assert slurm.job(job)["Requeue"] == "1"
    result = end(slurm, tmp_path.name, job)

    assert (len(result["nodes"]), result["world_size"]) == (nodes, 8 * nodes)


def test_an_array(slurm: Slurm, submit: Submit, tmp_path: Path) -> None:
    """Eight tasks, two at a time, each with a GPU and a number of its own."""
    job = submit("array")
    results = [end(slurm, tmp_path.name, job, f"_{task}") for task in range(8)]

    assert [result["ranks"][0]["value"]["task"] for result in results] == list("01234567")
    assert {result["world_size"] for result in results} == {1}


def test_ray_on_slurm(slurm: Slurm, submit: Submit, tmp_path: Path) -> None:
    """A Ray cluster on the nodes of the job runs one rank a GPU of them, and ends with it."""
    pytest.importorskip("ray")
    job = submit("ray_on_slurm")
    result = end(slurm, tmp_path.name, job)

    said = (slurm.testbed.shared / tmp_path.name / f"slurm-{job}.out").read_text()
    assert (len(result["nodes"]), result["world_size"]) == (2, 2)
    for rank in range(16):
        assert f"rank {rank} of 16 on 8\n" in said
    assert list((slurm.testbed.shared / tmp_path.name).rglob("ray-token")) == []
