"""Jobs that are submitted to a real SLURM: from inside another, from odd folders, in vain."""

import re
from collections.abc import Iterator

import pytest

from tests.clusters.slurm.login import LoginRun, jobs
from tests.testbed import Slurm, wait_until

pytestmark = pytest.mark.hosts

CHAIN = """\
#!/bin/sh
plaunch --new-job --detach --time 5 --no-python ./inner.sh >number
plaunch --detach --no-python ./inner.sh 2>refusal
true
"""
INNER = "#!/bin/sh\nenv >inner.env\n"


def test_a_job_from_inside_a_job(slurm: Slurm) -> None:
    """A rank submits the next job: it is told nothing of its own, and SLURM's files are at home."""
    files = {"chain.sh": CHAIN, "inner.sh": INNER}
    env = {"SBATCH_COMMENT": "of the user"}
    words = ["--nodes", "2", "--procs", "1", "--no-python", "sh", "-c"]
    once = '[ "$RANK" = 1 ] || exit 0; exec ./chain.sh'
    with LoginRun(slurm, *words, once, files=files, env=env) as run:
        assert run.wait() == 0
        outer, inner = run.job, (run.folder / "number").read_text().strip()

    assert "--new-job" in (run.folder / "refusal").read_text()
    slurm.wait_for(inner, "COMPLETED", 60)
    assert inner != outer
    assert slurm.job(inner)["NumNodes"] == "1"
    told = dict(
        line.split("=", 1)
        for line in (run.folder / "inner.env").read_text().splitlines()
        if "=" in line
    )
    assert (told["SLURM_JOB_ID"], told["SLURM_NNODES"], told["WORLD_SIZE"]) == (inner, "1", "1")
    assert told["SBATCH_COMMENT"] == "of the user"
    marks = [name for name in told if name.startswith("PLAUNCH_MARK_")]
    assert len(marks) == 1  # of its own run: the outer one's end would kill it by the other
    left = {path.name for path in run.folder.iterdir()}
    assert left == {"plaunch_runs", "number", "refusal", "inner.env", *files}
    for name, job in (("sh", outer), ("inner.sh", inner)):
        folder = run.folder / f"plaunch_runs/{name}-{job}"
        assert (folder / f"slurm-{job}.out").exists()
        assert (folder / "result.json").exists()


@pytest.fixture
def short(slurm: Slurm) -> Iterator[None]:
    """The partition `high` allows a minute."""
    change = ["scontrol", "update", "partitionname=high"]
    slurm.testbed.call("host1", [*change, "MaxTime=1"]).check_returncode()
    yield
    slurm.testbed.call("host1", [*change, "MaxTime=UNLIMITED"]).check_returncode()


def test_what_can_never_start_is_not_waited_for(slurm: Slurm, short: None) -> None:
    """Before it is queued where that is sure, else by SLURM's reason; exit code 3, nothing left."""
    too_long = ["--partition", "high", "--time", "90"]
    for words, said in (
        (["--nodes", "9"], "9 nodes are asked for, and partition low has 4 (nothing is queued)"),
        (too_long, "it asks for more time than its partition allows: it can't start like this"),
        (["--detach", *too_long], "(PartitionTimeLimit) (it was cancelled)"),
        (["--array", "0-1", *too_long], "(PartitionTimeLimit) (it was cancelled)"),
    ):
        with LoginRun(slurm, *words, "--no-python", "true") as run:
            assert run.wait() == 3, words
        assert said in run.err
        assert run.out == ""
        assert list(run.folder.rglob("*")) == []
        wait_until(lambda: jobs(slurm) == [], "nothing is queued", 30)


def test_odd_folders(slurm: Slurm) -> None:
    """Refused before the queue; one that the nodes don't have is told as soon as SLURM knows."""
    for name in ("a%jb", "a\nb", "a\\b"):
        folder = slurm.testbed.shared / name
        folder.mkdir()
        words = ["plaunch", "--cluster", "slurm", "--no-python", "true"]
        done = slurm.testbed.call("host0", words, cwd=f"/shared/{name}")
        assert done.returncode == 2
        assert "SLURM can't work in the folder" in done.stderr
        assert done.stderr.count("\n") == 1
        assert list(folder.iterdir()) == []
    assert jobs(slurm) == []

    slurm.testbed.call("host0", ["mkdir", "/root/only"]).check_returncode()
    done = slurm.testbed.call("host0", words, cwd="/root/only")
    assert done.returncode == 3
    assert "is its folder /root/only there on host1, shared with this machine" in done.stderr


def test_a_job_that_is_queued_again_after_its_run_succeeded(slurm: Slurm) -> None:
    """It ends with 0 at once; its program is not run again."""
    files = {"once.sh": "#!/bin/sh\necho ran >>ran\n"}
    with LoginRun(slurm, "--no-python", "./once.sh", files=files) as run:
        assert run.wait() == 0
        job = run.job
    slurm.testbed.call("host0", ["scontrol", "requeue", job]).check_returncode()
    wait_until(lambda: slurm.job(job)["Restarts"] == "1", "it is queued again", 30)
    slurm.wait_for(job, "COMPLETED", 60)

    assert slurm.job(job)["ExitCode"] == "0:0"
    assert (run.folder / "ran").read_text() == "ran\n"
    said = (run.folder / f"plaunch_runs/once.sh-{job}/slurm-{job}.err").read_text()
    assert f"SLURM has started job {job} again, but its run has succeeded" in said


def test_the_row_of_an_array(slurm: Slurm) -> None:
    """How many of its tasks failed, and of what."""
    files = {"fail.sh": "#!/bin/sh\nexit 7\n"}
    with LoginRun(slurm, "--array", "0-2", "--no-python", "./fail.sh", files=files) as run:
        assert run.wait() == 7
    array = run.err.partition("plaunch: array ")[2].partition(" ")[0]
    told = slurm.testbed.call("host0", ["plaunch", "status", array]).stdout

    (row,) = [line for line in told.splitlines() if re.search(rf"\b{array}\b(?!_)", line)]
    assert "failed (3 of 3): task 0: rank 0: exit code 7" in row
