"""Training on four hosts over SSH, and what becomes of it when things break.

Whatever happens, the verdict names host and cause, and no process of the run is left on any host
(DataLoader workers included): after each test the fixture `testbed` looks for leftovers.
"""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.clusters.runs import PROGRAMS, PROJECT, Run, kill
from tests.testbed import Testbed, wait_until

pytestmark = pytest.mark.hosts

TRAIN_ON = str(PROGRAMS / "train_on.py")
STAY = str(PROGRAMS / "stay.py")
RANKS = range(8)
SILENCE_S = 10  # after which a node that says nothing is lost
NUM_PROCESSES = (
    8 * 2 + 4 * 4 + 1
)  # rank and DataLoader worker; sshd, guard, agent, fork server; store


@pytest.fixture
def training(testbed: Testbed) -> Iterator[Run]:
    """A training that runs on without end: 4 hosts x 2 ranks, a DataLoader worker each."""
    with Run(testbed, TRAIN_ON) as run:
        run.wait_for(r"rank \d is process", count=8)
        yield run


@pytest.fixture
def small_training(testbed: Testbed) -> Iterator[Run]:
    """The same on two hosts with a rank each, which is up in half the time."""
    with Run(testbed, TRAIN_ON, hosts="host1,host2", procs=1) as run:
        run.wait_for(r"rank \d is process", count=2)
        yield run


@pytest.fixture
def staying(testbed: Testbed) -> Iterator[Run]:
    """A run on two hosts with a rank each that needs no torch: the launcher's part is asked."""
    with Run(testbed, STAY, hosts="host1,host2", procs=1) as run:
        run.wait_for(r"rank \d is process", count=2)
        yield run


def wait_until_empty(testbed: Testbed, hosts: tuple[int, ...], timeout_s: float = 20) -> None:
    """Wait until nothing of the run is left on these hosts."""
    wait_until(
        lambda: not any(testbed.processes(host) for host in hosts),
        f"the hosts {hosts} are empty",
        timeout_s,
    )


@pytest.mark.parametrize(
    "example",
    [["digits_plain.py"], ["digits.py", "--batch-size", "8", "--epochs", "4"]],
    ids=["plain", "engine"],
)
def test_four_hosts_train_a_real_model(testbed: Testbed, example: list[str]) -> None:
    """8 ranks on 4 hosts train to an accuracy of 0.95; every rank's result comes back."""
    script, *arguments = example
    with Run(testbed, str(PROJECT / "examples" / script), *arguments) as run:
        assert run.wait(180) == 0

    result = run.result
    assert (result["state"], result["world_size"]) == ("succeeded", 8)
    assert [rank["node"] for rank in result["ranks"]] == [f"host{k}" for k in "11223344"]
    assert {rank["value"]["test_acc"] >= 0.95 for rank in result["ranks"]} == {True}
    wait_until_empty(testbed, (0, 1, 2, 3, 4))


def test_a_killed_rank(testbed: Testbed, training: Run) -> None:
    """A rank dies of a signal: all ranks of all hosts end, not waiting for gloo."""
    kill(training.rank(5))

    wait_until_empty(testbed, (1, 2, 3, 4))
    assert training.wait(60) == 128 + signal.SIGKILL

    verdict = training.verdict
    assert (verdict["kind"], verdict["node"], verdict["rank"]) == ("signal", "host3", 5)
    assert verdict["signal"] == "SIGKILL"
    assert set(verdict["victims"]) <= set(RANKS) - {5}


def test_a_killed_dataloader_worker(testbed: Testbed, small_training: Run) -> None:
    """A grandchild dies: its rank says so, and is the culprit."""
    rank = small_training.rank(1)
    kill(next(p for p in testbed.processes(2) if p.parent == rank.pid))

    assert small_training.wait(60) == 1

    verdict = small_training.verdict
    assert (verdict["kind"], verdict["node"], verdict["rank"]) == ("exception", "host2", 1)
    assert "torch/utils/data" in verdict["exception"]["traceback"]


@pytest.mark.parametrize("process", ["agent", "guard"])
def test_a_killed_agent_or_guard(testbed: Testbed, staying: Run, process: str) -> None:
    """Kill -9 of the launcher's own process on a host: that host is lost, all is swept."""
    kill(getattr(staying, process)(2))

    assert staying.wait(60) != 0

    verdict = staying.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host2")
    wait_until_empty(testbed, (1, 2))


def test_a_crashed_host(testbed: Testbed, small_training: Run) -> None:
    """A host that is switched off is lost at once, and named."""
    testbed.crash("host2")

    assert small_training.wait(60) != 0

    verdict = small_training.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host2")
    wait_until_empty(testbed, (1,))


def test_a_crash_of_the_first_host(testbed: Testbed, small_training: Run) -> None:
    """The store goes with the host of rank 0: everybody fails, and that host is still named."""
    testbed.crash("host1")

    assert small_training.wait(60) != 0

    verdict = small_training.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host1")


def test_a_short_cut_is_survived_and_a_long_one_is_a_lost_host(
    testbed: Testbed, small_training: Run
) -> None:
    """Two seconds without a cable are nothing; for good, both sides notice, not waiting for TCP."""
    testbed.cut("host2")
    time.sleep(2)  # this is what is tested
    testbed.heal("host2")

    epoch = int(small_training.wait_for(r"epoch (\d+)")[-1][1])
    small_training.wait_for(rf"epoch {epoch + 3}", timeout_s=60)
    assert small_training.process.poll() is None

    testbed.cut("host2")

    assert small_training.wait(SILENCE_S + 30) != 0

    verdict = small_training.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host2")
    wait_until_empty(testbed, (1,))
    # The host that is cut off ends its ranks by itself. Its sshd waits for the cable.
    wait_until(
        lambda: all(p.cmdline[0].startswith("sshd") for p in testbed.processes(2)),
        "host2 has ended its ranks",
        SILENCE_S + 20,
    )


def test_a_power_failure(testbed: Testbed, staying: Run) -> None:
    """A host that goes without a last packet, as a crash alone would send."""
    testbed.cut("host2")
    testbed.crash("host2")

    assert staying.wait(SILENCE_S + 30) != 0

    verdict = staying.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host2")


def test_a_frozen_host(testbed: Testbed, small_training: Run) -> None:
    """A host whose kernel answers, but whose processes don't, is lost as well."""
    testbed.freeze("host2")

    assert small_training.wait(SILENCE_S + 30) != 0

    verdict = small_training.verdict
    assert (verdict["kind"], verdict["node"]) == ("lost_node", "host2")
    wait_until_empty(testbed, (1,))
    testbed.thaw("host2")
    wait_until_empty(testbed, (2,), SILENCE_S + 20)


def test_a_killed_launcher(testbed: Testbed, training: Run) -> None:
    """Kill -9 of plaunch itself: nothing is left on any host."""
    assert len(training.processes()) >= NUM_PROCESSES
    training.process.kill()

    wait_until_empty(testbed, (0, 1, 2, 3, 4))


def test_the_launchers_cable_is_cut(testbed: Testbed, staying: Run) -> None:
    """The hosts hear nothing from the launcher: they end everything by themselves."""
    testbed.cut("host0")

    wait_until(
        lambda: all(p.cmdline[0].startswith("sshd") for p in staying.processes()),
        "all ranks have ended",
        SILENCE_S + 10,
    )
    assert staying.wait(60) != 0
    assert staying.verdict["kind"] == "lost_node"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_cancelled_run(testbed: Testbed, staying: Run, number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end the run everywhere, and are no failure of any rank."""
    staying.process.send_signal(number)

    assert staying.wait(60) == code

    assert staying.result["state"] == "cancelled"
    assert staying.result["verdict"] is None
    wait_until_empty(testbed, (0, 1, 2, 3, 4))


def test_ctrl_c_while_hosts_are_connected_to(testbed: Testbed) -> None:
    """It is heard at once, not after the last host has answered or its time is up."""
    testbed.cut("host2")
    patient = testbed.shared / "patient.yaml"
    patient.write_text("cluster: ssh\nhosts: [host1, host2]\nssh: {connect_timeout: 100}\n")
    words = ["--cluster", "/shared/patient.yaml", "--verbose", TRAIN_ON]
    with Run(testbed, *words, hosts="", procs=1) as run:
        run.wait_for("connecting to host1, host2")
        wait_until(lambda: bool(testbed.processes(1)), "host1 is connected to")
        run.process.send_signal(signal.SIGINT)

        assert run.wait(60) == 130  # a host that doesn't answer is waited for longer

    assert run.result["state"] == "cancelled"
    wait_until_empty(testbed, (0, 1))


def test_other_peoples_processes_are_left_alone(testbed: Testbed, small_training: Run) -> None:
    """What runs on the hosts besides, also a run of another user, lives on."""
    with (
        Run(testbed, TRAIN_ON, hosts="host1,host2", procs=1) as other,
        testbed.run("host1", ["sleep", "1000"]) as sleeping,
    ):
        try:
            other.wait_for(r"rank \d is process", count=2)
            kill(small_training.rank(1))
            assert small_training.wait(60) == 137
            epoch = int(other.wait_for(r"epoch (\d+)")[-1][1])
            other.wait_for(rf"epoch {epoch + 2}", timeout_s=60)
            assert sleeping.poll() is None
        finally:
            sleeping.kill()
