"""What becomes of a run on Ray when things break.

Found by our own channel, in seconds: Ray itself needs a minute to notice that a node is gone.
"""

import signal

import pytest

from tests.clusters.ray.ray_runs import RayRun, claimed, wait_until_empty
from tests.clusters.runs import PROGRAMS, kill
from tests.testbed import Ray, wait_until

pytestmark = pytest.mark.hosts

TRAIN_ON = str(PROGRAMS / "train_on.py")
COME_AND_GO = str(PROGRAMS / "come_and_go.py")
STAY = str(PROGRAMS / "stay.py")


@pytest.mark.parametrize(
    ("how", "program"), [("kill_raylet", STAY), ("crash", COME_AND_GO), ("cut", STAY)]
)
def test_a_lost_node_is_replaced_by_a_spare_one(ray: Ray, how: str, program: str) -> None:
    """Of four nodes three are used; one is lost, the fourth stands in, and the run finishes."""
    words = ["--nodes", "3", "--max-restarts", "1", program]
    with RayRun(ray, *words) as run:
        ups = run.wait_for(r"up: rank (\d) of 3 on host(\d)", count=3)
        used = sorted(int(up[2]) for up in ups)
        lost = used[-1]
        getattr(ray, how)(lost)
        run.wait_for(rf"host{lost} is lost", timeout_s=40)
        run.wait_for(r"up: rank \d of 3", count=6, timeout_s=60)
        (run.folder / "enough").touch()
        assert run.wait(60) == 0

    (spare,) = {1, 2, 3, 4} - set(used)
    now = [f"host{host}" for host in sorted({*used, spare} - {lost})]
    assert [one["host"] for one in run.values] == now
    assert [node["name"] for node in run.result["nodes"]] == now
    assert run.result["attempts"] == 2


def test_ctrl_c_while_waiting_for_another_node(ray: Ray) -> None:
    """None is spare; Ctrl-C ends the waiting, and all that is left."""
    with RayRun(ray, "--nodes", "4", "--max-restarts", "1", STAY) as run:
        run.wait_for("up: rank", count=4)
        ray.kill_raylet(2)
        run.wait_for("waiting for nodes instead of host2, up to 60 s")
        run.process.send_signal(signal.SIGINT)
        assert run.wait(60) == 130

    assert run.result["state"] == "cancelled"
    wait_until_empty(ray, (1, 2, 3, 4))


def test_without_a_spare_node_the_failure_is_that_of_the_lost_one(ray: Ray) -> None:
    """It waits for another node as long as --wait says."""
    words = ["--nodes", "4", "--max-restarts", "1", "--wait", "3", STAY]
    with RayRun(ray, *words) as run:
        run.wait_for("up: rank", count=4)
        ray.crash(3)
        assert run.wait(60) != 0
        run.wait_for("3 of 4 nodes are left: too few to go on")

    assert (run.verdict["kind"], run.verdict["node"]) == ("lost_node", "host3")
    wait_until_empty(ray, (1, 2, 4))


def test_a_host_that_comes_back_takes_its_own_place(ray: Ray, ray_gpus: dict[str, str]) -> None:
    """No node is spare; the lost host boots, joins Ray as a new node, and the run goes on."""
    words = ["--nodes", "4", "--gpus", "2", "--max-restarts", "1", STAY]
    with RayRun(ray, *words, env=ray_gpus) as run:
        run.wait_for("up: rank", count=4)
        ray.crash(4)
        run.wait_for("host4 is lost")
        ray.testbed.boot(4)
        ray.start_worker(4)
        run.wait_for("up: rank", count=8)
        (run.folder / "enough").touch()
        assert run.wait(60) == 0

    assert [one["host"] for one in run.values] == [f"host{k}" for k in "1234"]
    # Two of each host; which is Ray's choice: what an earlier run had may not be free yet.
    assert [len({*node["gpus"]}) for node in run.result["nodes"]] == [2, 2, 2, 2]


def test_a_killed_agent_starts_again_where_it_was(ray: Ray) -> None:
    """The node itself is well, so its bundle is kept."""
    with RayRun(ray, "--nodes", "2", "--max-restarts", "1", STAY) as run:
        hosts = [int(up[1]) for up in run.wait_for(r"up: rank \d of 2 on host(\d)", count=2)]
        kill(run.agent(hosts[0]))
        run.wait_for("up: rank", count=4)
        (run.folder / "enough").touch()
        assert run.wait(60) == 0

    assert sorted(one["host"] for one in run.values) == [f"host{host}" for host in sorted(hosts)]


def test_the_raylet_beside_the_launcher(ray: Ray) -> None:
    """Ray ends its driver then, but not plaunch: it says which node is lost, and ends."""
    with RayRun(ray, "--nodes", "4", STAY) as run:
        run.wait_for("up: rank", count=4)
        ray.kill_raylet(1)
        assert run.wait(60) != 0

    assert (run.verdict["kind"], run.verdict["node"]) == ("lost_node", "host1")
    wait_until_empty(ray, (1, 2, 3, 4))


def test_the_launcher_is_killed(ray: Ray) -> None:
    """Kill -9 of plaunch: no process is left on any node, and nothing is claimed any more."""
    with RayRun(ray, "--nodes", "4", TRAIN_ON) as run:
        run.wait_for(r"rank \d is process", count=4)
        run.process.kill()
        run.process.wait(60)
        wait_until_empty(ray, (1, 2, 3, 4))

    wait_until(lambda: claimed(ray) == {"CPU": 0, "GPU": 0}, "nothing is claimed", 60)
