"""A host is lost in the middle: the run goes on, on a spare one or with fewer."""

import pytest

from tests.clusters.runs import PROGRAMS, Run
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

COME_AND_GO = str(PROGRAMS / "come_and_go.py")
STAY = str(PROGRAMS / "stay.py")


def test_a_spare_host_takes_the_place_of_a_lost_one(testbed: Testbed) -> None:
    """Of four hosts three are used; when one of them crashes, the fourth stands in."""
    words = ["--nodes", "3", "--max-restarts", "1", STAY]
    with Run(testbed, *words, procs=1) as run:
        run.wait_for(r"up: rank \d of 3", count=3)
        testbed.crash("host2")
        run.wait_for(r"up: rank \d of 3", count=6)
        run.folder.joinpath("enough").touch()
        assert run.wait(60) == 0

        assert any("host2 is lost" in line for line in run.lines)
        assert any("going on with host[1,3-4]" in line for line in run.lines)
    hosts = [rank["value"]["host"] for rank in run.result["ranks"]]
    assert hosts == ["host1", "host3", "host4"]
    assert [node["name"] for node in run.result["nodes"]] == hosts
    assert run.result["attempts"] == 2


def test_with_a_range_of_nodes_it_goes_on_with_fewer(testbed: Testbed) -> None:
    """--nodes 1:2 and no spare host: the one that is left trains alone."""
    words = ["--nodes", "1:2", "--max-restarts", "1", COME_AND_GO]
    with Run(testbed, *words, hosts="host[1-2]", procs=2) as run:
        run.wait_for(r"up: rank \d of 4", count=4)
        testbed.crash("host1")
        run.wait_for(r"up: rank \d of 2", count=2)
        run.folder.joinpath("enough").touch()
        assert run.wait(60) == 0

    assert [rank["value"] for rank in run.result["ranks"]] == [
        {"host": "host2", "world_size": 2}
    ] * 2


def test_without_enough_nodes_it_says_how_many_are_left(testbed: Testbed) -> None:
    """Two are needed and one is left: the failure is that of the lost host."""
    words = ["--max-restarts", "1", STAY]
    with Run(testbed, *words, hosts="host[1-2]", procs=1) as run:
        run.wait_for(r"up: rank \d of 2", count=2)
        testbed.crash("host1")
        assert run.wait(60) != 0
        assert any("1 of 2 nodes are left" in line for line in run.lines)

    assert run.verdict["kind"] == "lost_node"
    assert run.verdict["node"] == "host1"
