"""On a Ray cluster: `plaunch` starts on its nodes what it starts elsewhere.

Ray's driver has to be on a machine of the cluster, so plaunch is started on host1.
"""

import json
import signal

import pytest

from tests.clusters.ray.ray_runs import RayRun, claimed, wait_until_empty
from tests.clusters.runs import PROGRAMS, PROJECT
from tests.testbed import Ray, wait_until

pytestmark = pytest.mark.hosts

WHERE = str(PROGRAMS / "where.py")
STAY = str(PROGRAMS / "stay.py")


# -- what every cluster can do


def test_four_nodes_with_two_ranks_each(ray: Ray) -> None:
    """Ranks in the order of the hosts' names; arguments, environment and results travel whole."""
    arguments = ["", "two words", "it's", 'a"b', "line\nbreak", "$(x)", "; x", "--nodes", "a,b"]
    odd = "a,b c;$(x)'\"\n="
    words = ["--nodes", "4", "--env", "ODD", WHERE, *arguments]
    with RayRun(ray, *words, procs=2, env={"ODD": odd, "OTHER": "stays here"}) as run:
        assert run.wait(120) == 0

    assert [one["host"] for one in run.values] == [f"host{k}" for k in "11223344"]
    assert [one["rank"] for one in run.values] == list("01234567")
    assert {one["master"] for one in run.values} == {ray.testbed.address(1)}
    assert {one["threads"] for one in run.values} == {"1"}
    assert {one["gpus"] for one in run.values} == {""}
    assert {one["cwd"] for one in run.values} == {"/shared"}
    assert all(one["arguments"] == arguments and one["odd"] == odd for one in run.values)
    assert [node["address"] for node in run.result["nodes"]] == [
        ray.testbed.address(host) for host in (1, 2, 3, 4)
    ]
    assert claimed(ray) == {"CPU": 0, "GPU": 0}


def test_a_failing_rank_is_named(ray: Ray) -> None:
    """Its exception, its host and its exit code; Ray says nothing into our output."""
    words = ["--nodes", "2", "--no-python", "python", "-c"]
    program = "import os; assert os.environ['RANK'] != '1', 'no reason'"
    with RayRun(ray, *words, program) as run:
        assert run.wait(60) == 1

    verdict = run.verdict
    second = run.result["nodes"][1]["name"]
    assert (verdict["kind"], verdict["node"], verdict["rank"]) == ("exit", second, 1)
    assert "AssertionError: no reason" in verdict["last_lines"]
    ours = ("--cluster ray", "plaunch: waiting for Ray")
    said = [line for line in run.lines if not any(word in line for word in ours)]
    assert not any("ray" in line.lower() for line in said)


def test_ctrl_c_cancels(ray: Ray) -> None:
    """One Ctrl-C ends the ranks, gives everything back, and is exit code 130."""
    with RayRun(ray, "--nodes", "2", STAY) as run:
        run.wait_for(r"rank \d is process", count=2)
        run.process.send_signal(signal.SIGINT)
        assert run.wait(60) == 130

    assert run.result["state"] == "cancelled"
    wait_until_empty(ray, (1, 2, 3, 4))
    assert claimed(ray) == {"CPU": 0, "GPU": 0}


# -- resources


def test_a_run_has_its_gpus_for_itself(ray: Ray, ray_gpus: dict[str, str]) -> None:
    """Two runs at once on the same nodes: each has two GPUs of each node, and no other's."""
    meet = str(PROGRAMS / "meet_other.py")
    words = ["--nodes", "2", "--gpus", "2"]
    with (
        RayRun(ray, *words, meet, procs=2, env=ray_gpus) as one,
        RayRun(ray, *words, meet, procs=2, env=ray_gpus) as two,
    ):
        assert one.wait(120) == 0
        assert two.wait(120) == 0

    placed = [
        (node["name"], gpu)
        for run in (one, two)
        for node in run.result["nodes"]
        for gpu in node["gpus"]
    ]
    assert len(placed) == len(set(placed)) == 8


def test_the_ranks_see_the_gpus_that_ray_gave(ray: Ray, ray_gpus: dict[str, str]) -> None:
    """All of a node's for each of its ranks: a number by name, without a word all free ones."""
    with RayRun(ray, "--nodes", "4", "--gpus", "5", STAY, env=ray_gpus) as first:
        first.wait_for("up: rank", count=4)
        with RayRun(ray, "--nodes", "2", "--gpus", "2", WHERE, procs=2, env=ray_gpus) as second:
            assert second.wait(60) == 0
        with RayRun(ray, "--nodes", "1:9", WHERE, procs=3, all_gpus=True, env=ray_gpus) as third:
            assert third.wait(60) == 0
        (first.folder / "enough").touch()
        assert first.wait(60) == 0

    assert [one["gpus"] for one in second.values] == ["GPU-5,GPU-6"] * 4
    assert [one["gpus"] for one in third.values] == ["5,6,7"] * 12  # as Ray says it


def test_resources_that_are_not_there(ray: Ray) -> None:
    """After --wait it says what was asked for and what each node has, and exit code is 3."""
    with RayRun(ray, "--nodes", "2", "--gpus", "9", "--wait", "3", WHERE) as run:
        run.wait_for("asked for 2 nodes with 9 GPUs and 1 CPU each.*; waiting for it up to 3 s")
        assert run.wait(60) == 3
        run.wait_for("asked for 2 nodes with 9 GPUs and 1 CPU each, there is room on 0 of 4 after")
        for host in (1, 2, 3, 4):
            run.wait_for(rf"host{host} +has 8 GPUs \(all free\), 4 CPUs \(all free\)")
    assert claimed(ray) == {"CPU": 0, "GPU": 0}


def test_waiting_for_resources(ray: Ray) -> None:
    """Another run has the processors: the second waits, and starts when the first has ended."""
    with RayRun(ray, "--nodes", "4", STAY, procs=3) as first:
        first.wait_for("up: rank", count=12)
        with RayRun(ray, "--nodes", "4", WHERE, procs=2) as second:
            second.wait_for("there is room on 0 of 4; waiting for it up to 60 s")
            (first.folder / "enough").touch()
            assert first.wait(60) == 0
            assert second.wait(90) == 0


def test_ctrl_c_while_waiting(ray: Ray) -> None:
    """There is nothing to cancel yet: the exit code is 130, and nothing stays claimed."""
    with RayRun(ray, "--nodes", "9", WHERE) as run:
        run.wait_for("waiting for it")
        run.process.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
        assert not any("Traceback" in line for line in run.lines)
    assert claimed(ray) == {"CPU": 0, "GPU": 0}


# -- ways to start it


def test_as_a_ray_job(ray: Ray) -> None:
    """`ray job submit -- plaunch ...`, from a machine outside of the cluster: inside a Ray job the
    cluster needs no name; the job's working folder is that of the ranks, on every node.
    """
    folder = ray.testbed.path("host0") / "root/project"
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text((PROGRAMS / "where.py").read_text())
    submit = ["ray", "job", "submit", "--address", ray.dashboard, "--working-dir", "project"]
    words = ["--nodes", "3", "--gpus", "0", "--procs", "2", "--result", "/shared/ray-job.json"]
    command = [*submit, "--", "plaunch", *words, "train.py", "two words"]

    done = ray.testbed.call("host0", command, timeout_s=120)

    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((ray.testbed.shared / "ray-job.json").read_text())
    values = [rank["value"] for rank in result["ranks"]]
    assert len({one["host"] for one in values}) == 3
    assert [one["rank"] for one in values] == list("012345")
    assert {one["arguments"][0] for one in values} == {"two words"}
    assert all("/working_dir_files/" in one["cwd"] for one in values)
    assert {one["odd"] for one in values} == {None}


def test_a_failed_ray_job_has_failed(ray: Ray) -> None:
    """Ray sees the exit code."""
    submit = ["ray", "job", "submit", "--address", ray.dashboard]
    words = ["--gpus", "0", "--nodes", "2", "--no-python", "false"]

    done = ray.testbed.call("host0", [*submit, "--", "plaunch", *words], timeout_s=120)

    assert done.returncode == 1
    assert "failed first: exit code 1" in done.stdout + done.stderr


def test_a_ray_job_that_is_stopped(ray: Ray) -> None:
    """`ray job stop` gives plaunch three seconds: nothing is left, on any node."""
    words = ["--gpus", "0", "--nodes", "4", "--run-dir", "/shared/stopped", STAY]
    job = ["--address", ray.dashboard]
    submit = ["ray", "job", "submit", "--no-wait", "--submission-id", "mine", *job, "--"]
    assert ray.testbed.call("host0", [*submit, "plaunch", *words]).returncode == 0
    logs = ray.testbed.shared / "stopped/logs"
    wait_until(lambda: len(list(logs.glob("*"))) == 4, "all ranks have said something", 60)

    stopped = ray.testbed.call("host0", ["ray", "job", "stop", *job, "mine"])

    assert stopped.returncode == 0, stopped.stderr
    wait_until_empty(ray, (1, 2, 3, 4))


def test_nodes_need_no_installation_of_ours(ray: Ray) -> None:
    """Only the machine with the launcher has it."""
    ours, away = str(PROJECT / "launcher"), str(PROJECT / "launcher.away")
    for host in (2, 3, 4):
        assert ray.testbed.call(host, ["mv", ours, away]).returncode == 0
    try:
        with RayRun(ray, "--nodes", "4", "--no-python", "ls", ours) as run:
            assert run.wait(60) == 2
        run.wait_for(f"ls: cannot access '{ours}'", count=1)
    finally:
        for host in (2, 3, 4):
            ray.testbed.call(host, ["mv", away, ours])


def test_plaunch_nodes(ray: Ray, ray_gpus: dict[str, str]) -> None:
    """All nodes with all of their GPUs are shown, and nothing is claimed for that."""
    with RayRun(ray, "--nodes", "4", "--gpus", "8", STAY, env=ray_gpus) as run:
        run.wait_for("up: rank", count=4)
        done = ray.testbed.call("host1", ["plaunch", "nodes", "--cluster", "ray"], env=ray_gpus)
        (run.folder / "enough").touch()
        assert run.wait(60) == 0

    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        [f"host{host}", ray.testbed.address(host)] for host in (1, 2, 3, 4)
    ]
    assert all("free of 8" in line for line in done.stdout.splitlines()[1:])


def test_where_no_ray_is(ray: Ray) -> None:
    """On a machine outside of the cluster, or with an address where nobody answers: exit code 3."""
    outside = ray.testbed.call("host0", ["plaunch", "--cluster", "ray", WHERE])
    env = {"RAY_ADDRESS": f"{ray.testbed.address(2)}:6379"}
    elsewhere = ray.testbed.call("host1", ["plaunch", WHERE], env=env)

    assert outside.returncode == elsewhere.returncode == 3
    assert "no Ray cluster is running on this machine" in outside.stderr
    assert f"no Ray cluster is running at {env['RAY_ADDRESS']}" in elsewhere.stderr
    assert "run plaunch on a machine of the cluster" in outside.stderr
