"""Inside a SLURM allocation: `plaunch` starts on its nodes what it starts elsewhere."""

import json
import random
import re
import subprocess
from collections.abc import Sequence

import pytest

from launcher.core.nodelist import expand
from tests.clusters.runs import PROGRAMS, PROJECT, Run
from tests.testbed import Slurm, wait_until

pytestmark = pytest.mark.hosts

WHERE = str(PROGRAMS / "where.py")
STAY = str(PROGRAMS / "stay.py")
GPUS = {
    "PYTHONPATH": str(PROJECT / "tests/fakes"),
    "PLAUNCH_GPU_DRIVER": "/shared/gpus.json",
}


def salloc(*options: str) -> Sequence[str]:
    return ["salloc", "--quiet", *options]


def eight_gpus(slurm: Slurm) -> None:
    """Let the stand-in for NVIDIA's library tell of eight GPUs on each host."""
    gpus = [{"uuid": f"GPU-{number}"} for number in range(8)]
    (slurm.testbed.shared / "gpus.json").write_text(json.dumps({"gpus": gpus}))


def values(run: Run, timeout_s: float = 90) -> list[dict[str, str]]:
    assert run.wait(timeout_s) == 0
    return [rank["value"] for rank in run.result["ranks"]]


def test_it_runs_on_the_nodes_of_the_allocation(slurm: Slurm) -> None:
    """Without a word about the cluster: node order, ranks, addresses, and the job's processors."""
    before = salloc("--nodes=3", "--nodelist=host[2-4]", "--cpus-per-task=2")
    with Run(slurm.testbed, WHERE, hosts="", procs=2, before=before) as run:
        found = values(run)

    assert [one["host"] for one in found] == ["host2"] * 2 + ["host3"] * 2 + ["host4"] * 2
    assert [one["rank"] for one in found] == list("012345")
    assert {one["master"] for one in found} == {slurm.testbed.address(2)}
    assert {one["threads"] for one in found} == {"1"}


def test_the_tasks_of_the_job_are_its_ranks(slurm: Slurm) -> None:
    """Without --procs and GPUs: as many ranks as the job has tasks there, uneven ones, too."""
    options = ["--nodes=2", "--ntasks=5", "--cpus-per-task=2"]  # SLURM_TASKS_PER_NODE=4,1
    with Run(slurm.testbed, WHERE, hosts="", procs=None, before=salloc(*options)) as run:
        found = values(run)

    hosts = [one["host"] for one in found]
    assert sorted(hosts.count(host) for host in set(hosts)) == [1, 4]
    assert [one["rank"] for one in found] == list("01234")


def test_fewer_nodes_and_uneven_processors(slurm: Slurm) -> None:
    """--nodes takes the first of them; a node's own share of processors counts."""
    before = salloc("--nodes=2", "--ntasks=3", "--cpus-per-task=1", "--distribution=block")
    with Run(slurm.testbed, "--nodes", "1", WHERE, hosts="", procs=1, before=before) as run:
        assert len(values(run)) == 1
    with Run(slurm.testbed, WHERE, hosts="", procs=2, before=salloc("--nodes=2")) as run:
        values(run)
        run.wait_for(
            r"host\[1-2\] has 1 core for 2 ranks: ask SLURM for more, as in --cpus-per-task=2"
        )
    with Run(slurm.testbed, WHERE, hosts="", procs=1, before=before) as run:
        assert len(values(run)) == 2


def test_more_than_there_is_is_exit_code_3(slurm: Slurm) -> None:
    """Nodes and GPUs, with the numbers."""
    with Run(slurm.testbed, "--nodes", "5", WHERE, hosts="", before=salloc("--nodes=2")) as run:
        assert run.wait(60) == 3
        run.wait_for("asked for 5 nodes, but the cluster has 2")
    eight_gpus(slurm)
    before = salloc("--nodes=2", "--gpus-per-node=2")
    with Run(slurm.testbed, "--gpus", "4", WHERE, hosts="", before=before, env=GPUS) as run:
        assert run.wait(60) == 3
        run.wait_for("asked for 4 GPUs, host1 has 2")
        run.wait_for("asked for 4 GPUs, host2 has 2")
    with Run(
        slurm.testbed, "--gpus", "1", WHERE, hosts="", procs=1, before=salloc(), env=GPUS
    ) as run:
        assert run.wait(60) == 3
        run.wait_for("host1 has none .the SLURM job was given none there")


@pytest.mark.parametrize(
    "options", [["--gpus-per-node=2"], ["--ntasks-per-node=2", "--gpus-per-task=1"]]
)
def test_the_gpus_are_those_that_slurm_gave(slurm: Slurm, options: list[str]) -> None:
    """Not those of the job beside it, and all ranks of a node see all of its GPUs."""
    eight_gpus(slurm)
    first = slurm.submit("sleep 600", "--nodes=1", "--nodelist=host1", "--gpus-per-node=3")
    slurm.wait_for(first, "RUNNING")
    before = salloc("--nodes=2", "--nodelist=host[1-2]", *options)
    words = ["--gpus", "2", WHERE]
    with Run(slurm.testbed, *words, hosts="", procs=2, before=before, env=GPUS) as run:
        found = values(run)

    assert [one["gpus"] for one in found] == ["GPU-3,GPU-4"] * 2 + ["GPU-0,GPU-1"] * 2
    assert [node["gpus"] for node in run.result["nodes"]] == [
        ["GPU-3", "GPU-4"],
        ["GPU-0", "GPU-1"],
    ]


def test_two_runs_in_one_allocation(slurm: Slurm) -> None:
    """A second plaunch doesn't wait for the first, nor for a step of the user's own."""
    script = """\
srun --overlap sleep 300 &
plaunch --procs 2 --run-dir /shared/one $1 &
first=$!
plaunch --procs 2 --run-dir /shared/two $1 && wait $first
code=$?
kill %1
exit $code"""
    before = [*salloc("--nodes=2"), "bash", "-c", script, "bash", str(PROGRAMS / "meet_other.py")]
    done = slurm.testbed.call("host0", before, cwd="/shared", timeout_s=120)

    assert done.returncode == 0, done.stderr
    for name in ("one", "two"):
        result = json.loads((slurm.testbed.shared / name / "result.json").read_text())
        assert [rank["value"] for rank in result["ranks"]] == ["has met the other"] * 4


def test_the_callers_environment_and_odd_arguments_arrive(slurm: Slurm) -> None:
    """Commas, blanks, quotes and newlines, which srun's --export alone would tear apart."""
    odd = {"ODD": "a,b c;$(x)'\"\n=", "SLURM_EXPORT_ENV": "NONE", "SLURM_CPUS_PER_TASK": "64"}
    arguments = ["", "two words", "it's", 'a"b', "line\nbreak", "$(x)", "; x", "--nodes", "a,b"]
    before = salloc("--nodes=2")
    with Run(slurm.testbed, WHERE, *arguments, hosts="", procs=1, before=before, env=odd) as run:
        found = values(run)

    assert [one["odd"] for one in found] == [odd["ODD"]] * 2
    assert [one["arguments"] for one in found] == [arguments] * 2


def test_no_secret_is_in_an_argument_or_a_readable_file(slurm: Slurm) -> None:
    """Neither the job's secret nor an --env value is to be seen by another user."""
    words = ["--env", "TOKEN", STAY]
    secret = {"TOKEN": "s3cr3t-of-mine"}
    before = salloc("--nodes=2")
    with Run(slurm.testbed, *words, hosts="", procs=1, before=before, env=secret) as run:
        run.wait_for(r"rank \d is process", count=2)
        processes = [p for host in range(3) for p in slurm.testbed.processes(host)]
        files = ["grep", "-rlF", secret["TOKEN"], str(slurm.testbed.shared)]
        told = subprocess.run(files, capture_output=True, timeout=30).stdout

        assert len(processes) > 8
        assert not any(secret["TOKEN"] in word for p in processes for word in p.cmdline)
        # the job's own secret: of 64 hexadecimal digits
        assert not any(re.search("[0-9a-f]{64}", word) for p in processes for word in p.cmdline)
        assert told == b""


def test_a_node_that_crashes_is_named_long_before_slurm_knows(slurm: Slurm) -> None:
    """By our own channel, within seconds; the spare node of the allocation stands in."""
    words = ["--nodes", "3", "--max-restarts", "1", str(PROGRAMS / "come_and_go.py")]
    before = salloc("--nodes=4", "--no-kill")
    with Run(slurm.testbed, *words, hosts="", procs=1, before=before) as run:
        run.wait_for(r"up: rank \d of 3", count=3)
        slurm.testbed.crash("host2")
        run.wait_for(r"up: rank \d of 3", count=6, timeout_s=60)
        run.folder.joinpath("enough").touch()
        assert run.wait(60) == 0

    assert [one["value"]["host"] for one in run.result["ranks"]] == ["host1", "host3", "host4"]


def test_kill_9_of_plaunch_leaves_nothing(slurm: Slurm) -> None:
    """Neither ranks nor agents nor srun, while the allocation lives on."""
    script = """\
rm -f /shared/go; plaunch "$@" & echo $! > /shared/pid
wait; until test -e /shared/go; do sleep 0.1; done"""
    before = [*salloc("--nodes=2"), "bash", "-c", script, "bash"]
    words = ["--procs", "2", "--run-dir", "/shared/killed", STAY]
    with slurm.testbed.run("host0", [*before, *words], stdout=subprocess.PIPE, text=True) as shell:
        try:
            assert shell.stdout is not None
            up = 0
            while up < 4:
                line = shell.stdout.readline()
                assert line
                up += "is process" in line
            pid = (slurm.testbed.shared / "pid").read_text().strip()
            slurm.testbed.call("host0", ["kill", "-9", pid])

            def left() -> list[object]:
                found = [p for host in range(3) for p in slurm.testbed.processes(host)]
                return [p for p in found if p.program not in ("salloc", "bash", "sleep")]

            wait_until(lambda: not left(), "nothing of the run is left", 30)
        finally:
            (slurm.testbed.shared / "go").touch()
            assert shell.wait(60) == 0


def test_srun_plaunch_is_told_what_to_do_instead(slurm: Slurm) -> None:
    """The commonest mistake would start everything many times over."""
    words = [*salloc("--nodes=2"), "srun", "plaunch", "--procs", "1", WHERE]
    done = slurm.testbed.call("host0", words, cwd="/shared")

    assert done.returncode == 2
    assert "srun started plaunch 2 times: start it once, without srun" in done.stderr


def random_list(rng: random.Random) -> str:
    def numbers() -> str:
        pieces = []
        for _ in range(rng.randint(1, 3)):
            width, first = rng.choice([1, 2, 3]), rng.randint(0, 120)
            last = first + rng.randint(0, 12)
            one = rng.random() < 0.4
            pieces.append(f"{first:0{width}d}" + ("" if one else f"-{last:0{width}d}"))
        return f"[{','.join(pieces)}]"

    def name() -> str:
        text = rng.choice(["gpu", "login-a", "n", "rack1-node", "c0-"])
        if rng.random() < 0.7:
            return text + numbers()  # nothing may follow the brackets in SLURM
        return text + str(rng.randint(0, 99)) + rng.choice(["", "", "-ib", "x"])

    return ",".join(name() for _ in range(rng.randint(1, 4)))


def test_node_lists_mean_what_slurm_says(slurm: Slurm) -> None:
    """200 random lists, expanded by us and by `scontrol show hostnames`."""
    rng = random.Random(7)
    lists = ["gpu[01-03,7],login-a[1-2]", *(random_list(rng) for _ in range(200))]
    script = 'for list in "$@"; do scontrol show hostnames "$list" | tr "\\n" " "; echo; done'
    done = slurm.testbed.call("host0", ["sh", "-c", script, "sh", *lists])

    theirs = [line.split() for line in done.stdout.splitlines()]
    assert len(theirs) == len(lists)
    assert [expand(text) for text in lists] == theirs
