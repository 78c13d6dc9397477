"""The store of a run on several hosts: its nodes reach it, other hosts and other users don't."""

import pytest

from tests.clusters.runs import PROGRAMS, Run
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts

# Calls an address, as an attacker would, and says what it hears within a while.
CALL = """
import socket, sys
line = socket.socket()
line.settimeout(3)
try:
    line.connect((sys.argv[1], int(sys.argv[2])))
    line.sendall(bytes(range(5)) * 10)
    print("heard", line.recv(100))
except ConnectionError:
    print("heard b''")
except TimeoutError:
    print("heard nothing")
"""


def test_only_the_run_reaches_its_store(testbed: Testbed) -> None:
    """Ranks of both nodes meet there. A host that is none of the run's waits in vain, another user
    of a node is hung up on, and the run goes on."""
    words = ("--verbose", str(PROGRAMS / "train_on.py"))
    with Run(testbed, *words, hosts="host1,host2", procs=1) as run:
        run.wait_for(r"rank \d is process", count=2)
        address, port = run.wait_for(r"rendezvous at (\S+):(\d+)")[0].groups()
        call = ["python3", "-c", CALL, address, port]
        heard = [testbed.call("host3", call), testbed.call("host1", call, user="alice")]
        assert run.process.poll() is None, "it goes on"

    assert [one.stdout.strip() for one in heard] == ["heard nothing", "heard b''"], heard
