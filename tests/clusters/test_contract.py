"""One contract, every kind of cluster: the same command does the same thing.

The same bodies run on this machine, over SSH, in a SLURM allocation and on Ray, on real parts.
Whatever happens, nothing of a run is left on any host.
"""

import json
import os
import signal

import pytest

from tests.clusters.backends import KINDS, Backend, backend
from tests.clusters.runs import PROGRAMS, Run
from tests.testbed import wait_until

pytestmark = pytest.mark.hosts

CONTRACT = str(PROGRAMS / "contract.py")
DOOR = str(PROGRAMS / "door.py")
STAY = str(PROGRAMS / "stay.py")
ODD_ARGUMENTS = [
    "",
    "two words",
    "it's",
    'a"b',
    "line\nbreak",
    "$(x)",
    "; x",
    "--nodes",
    "a,b",
    "é",
]
ODD_VALUE = "a,b c;$(x)'\"\n="


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest) -> Backend:
    return backend(request.param, request)


def wait_until_empty(cluster: Backend) -> None:
    wait_until(lambda: not cluster.left(), "nothing is left", 30)


def used(cluster: Backend, run: Run) -> list[str]:
    """The nodes of a run, in the natural order of their names."""
    nodes = [node["name"] for node in run.result["nodes"]]
    assert nodes == (sorted(nodes) if cluster.nodes is None else list(cluster.nodes))
    return nodes


def test_it_starts_places_and_returns_results(cluster: Backend) -> None:
    """Ranks in order on both nodes; arguments and variables whole; a value of every rank."""
    words = ["--env", "ODD", CONTRACT, "report", *ODD_ARGUMENTS]
    with cluster.run(*words, env={"ODD": ODD_VALUE}) as run:
        assert run.wait(120) == 0
        printed = {match[1] for match in run.wait_for(r"rank (\d) prints", count=4)}
        wait_until_empty(cluster)

    result = run.result
    values = [rank["value"] for rank in result["ranks"]]
    nodes = used(cluster, run)
    assert (result["state"], result["exit_code"], result["world_size"]) == ("succeeded", 0, 4)
    assert result["verdict"] is None
    assert printed == set("0123")
    assert [(rank["node"], rank["local_rank"]) for rank in result["ranks"]] == [
        (node, local_rank) for node in nodes for local_rank in (0, 1)
    ]
    assert values == [
        {
            "rank": rank,
            "sum": 6,
            "group": str(rank // 2),
            "arguments": ODD_ARGUMENTS,
            "odd": ODD_VALUE,
            "loss": None,
        }
        for rank in range(4)
    ]
    assert len(list((run.folder / "logs").glob("rank?.log"))) == 4


def test_a_rank_that_raises_is_named(cluster: Backend) -> None:
    """Host, rank, exception and its last lines; the others are victims; nothing is left."""
    with cluster.run(CONTRACT, "raise") as run:
        assert run.wait(120) == 1
        where = run.wait_for(r"rank 3 on (\w+) failed first: ValueError: this is the culprit")[0][1]
        wait_until_empty(cluster)

    verdict = run.verdict
    assert run.result["state"] == "failed"
    assert (verdict["kind"], verdict["rank"]) == ("exception", 3)
    assert verdict["node"] == where == used(cluster, run)[1]
    assert verdict["exception"]["type"] == "ValueError"
    assert "contract.py" in verdict["exception"]["traceback"]
    assert set(verdict["victims"]) <= {0, 1, 2}


def test_an_exit_code_is_passed_on(cluster: Backend) -> None:
    """The first failing rank's own code, as it is."""
    with cluster.run(CONTRACT, "exit") as run:
        assert run.wait(120) == 7
        wait_until_empty(cluster)

    assert (run.verdict["kind"], run.verdict["rank"], run.verdict["exit_code"]) == ("exit", 2, 7)


def test_ctrl_c_ends_everything_everywhere(cluster: Backend) -> None:
    """A cancelled run is no failure; children in sessions of their own end as well."""
    with cluster.run("--grace", "5", STAY) as run:
        run.wait_for(r"up: rank \d", count=4)
        plaunch = next(
            process
            for process in cluster.testbed.processes(cluster.on)
            if any(word.endswith("/plaunch") for word in process.cmdline[:3])
            and "salloc" not in process.program
        )
        os.kill(plaunch.pid, signal.SIGINT)
        assert run.wait(60) == 130
        wait_until_empty(cluster)

    assert (run.result["state"], run.result["verdict"]) == ("cancelled", None)


def test_status_logs_and_cancel(cluster: Backend) -> None:
    """From another terminal, by the run's id: what it does, what it says, and its end."""

    def call(*words: str) -> str:
        done = cluster.testbed.call(cluster.on, ["plaunch", *words], cwd="/", timeout_s=90)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with cluster.run("--grace", "5", STAY) as run:
        run.wait_for(r"up: rank \d", count=4)
        job_id = json.loads((run.folder / "job.json").read_text())["job_id"]
        (job,) = json.loads(call("status", "--json", job_id))
        assert (job["state"], job["cluster"]) == ("running", cluster.kind)
        assert "up: rank 2" in call("logs", "--rank", "2", job_id)
        call("cancel", job_id)
        assert run.wait(60) == 130
        wait_until_empty(cluster)
        (job,) = json.loads(call("status", "--json", job_id))
        assert job["state"] == "cancelled"


def test_a_function_runs_on_every_rank(cluster: Backend) -> None:
    """launch() from Python: values come back as data, and a failure as an exception."""
    argv = [*cluster.before, "python", DOOR, json.dumps(dict(cluster.python))]
    done = cluster.testbed.call(cluster.on, argv, cwd="/shared", timeout_s=180)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["values"] == [{"total": 16, "rank": rank, "list": [1, 1]} for rank in range(4)]
    assert (found["culprit"], found["kind"]) == (1, "exception")
    wait_until_empty(cluster)
