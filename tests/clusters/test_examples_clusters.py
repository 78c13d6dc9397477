"""The examples for clusters run as they stand, on real ones."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clusters.runs import PROJECT
from tests.testbed import Ray, Slurm, Testbed

pytestmark = pytest.mark.hosts


def project_on(testbed: Testbed, name: str) -> tuple[str, Path]:
    """A folder that all hosts share, with the examples in it: its name there, and from outside."""
    folder = testbed.shared / name
    folder.mkdir()
    subprocess.run(["cp", "-r", PROJECT / "examples", folder], check=True)
    return f"/shared/{name}", folder


def test_a_batch_script_of_ones_own(slurm: Slurm) -> None:
    """`sbatch` of a script that ends in `exec plaunch`."""
    cwd, folder = project_on(slurm.testbed, "own_script")
    words = ["sbatch", "--wait", "--parsable", "examples/clusters/own_script.sbatch"]
    done = slurm.testbed.call("host0", words, cwd=cwd, timeout_s=180)

    out = (folder / f"digits-{done.stdout.strip()}.out").read_text()
    assert done.returncode == 0, out
    assert "succeeded" in out
    assert "(4 ranks on 2 nodes)" in out


def test_from_the_login_node(slurm: Slurm) -> None:
    """Submit and watch; submit, leave alone, and come back."""
    cwd, _ = project_on(slurm.testbed, "login_node")
    words = ["sh", "examples/clusters/login_node.sh"]
    done = slurm.testbed.call("host0", words, cwd=cwd, timeout_s=240)

    assert done.returncode == 0, done.stderr
    assert "(4 ranks on 2 nodes)" in done.stderr
    job = re.search(r"submitted (\d+)", done.stdout)
    assert job is not None
    assert "succeeded" in done.stdout.partition(job[0])[2]


def test_on_ray(ray: Ray) -> None:
    """From a shell of the cluster, and as a job of Ray."""
    cwd, _ = project_on(ray.testbed, "ray_job")
    words = ["sh", "examples/clusters/ray_job.sh"]
    done = ray.testbed.call("host1", words, cwd=cwd, timeout_s=240)

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "(4 ranks on 2 nodes)" in said
    assert "(2 ranks on 2 nodes)" in said


def test_a_preempted_run_goes_on(testbed: Testbed) -> None:
    """Exit code 75, and the same command again begins at the step that was saved."""
    cwd, _ = project_on(testbed, "preempted")
    words = ["sh", "examples/clusters/preempted.sh"]
    done = testbed.call("host0", words, cwd=cwd, timeout_s=240)

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "made room: exit code 75" in said
    # an epoch that was cut takes the time of its rest
    assert all(float(seconds) < 240 for seconds in re.findall(r"batches  ([\d.]+) s", said)), said
    assert re.search(r"going on from .*preempted-step=[1-9]", said), said
