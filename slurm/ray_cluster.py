"""A Ray cluster on the nodes of a job: starts it, runs a command on the first node, and ends it.

    plaunch --cluster slurm --nodes 4 --gpus 8 --procs 1 slurm/ray_cluster.py COMMAND [WORD ...]

plaunch runs this once a node, as any other program of several ranks; the ranks tell each other
what they need to know by the store that plaunch has started for them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

from torch.distributed import TCPStore

PREEMPTED = 75
START_S = 120
PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """One node's part; returns the exit code."""
    rank = int(os.environ["RANK"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False, timeout=timedelta(days=365))
    if rank > 0:
        # A warning is the first node's: this one ends when that has ended.
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_IGN)
        address = store.get("ray address").decode()
        with ray("--address", address, "--node-ip-address", own_address(host, port)):
            code = int(store.get("exit code"))
        return code if code == PREEMPTED else 0
    head = own_address(host, port)
    address = f"{head}:{free_port(head)}"
    with ray("--head", "--node-ip-address", head, "--port", address.rpartition(":")[2]):
        wait_for(address)
        store.set("ray address", address)
        code = run(sys.argv[1:], {**os.environ, "RAY_ADDRESS": address})
        store.set("exit code", str(code))
    return code


@contextlib.contextmanager
def ray(*words: str) -> Iterator[None]:
    """Ray on this node, as long as it is needed; it gets the GPUs that the job has here."""
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    process = subprocess.Popen(
        ["ray", "start", "--block", *words, f"--num-gpus={len(gpus)}", "--disable-usage-stats"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def run(command: list[str], env: dict[str, str]) -> int:
    """Run the command; signals are for it. Its exit code as a shell tells it."""
    process = subprocess.Popen(command, env=env, start_new_session=True)
    for number in PASSED_ON:
        signal.signal(number, lambda caught, _frame: process.send_signal(caught))
    code = process.wait()
    return code if code >= 0 else 128 - code


def own_address(host: str, port: int) -> str:
    """This node's address, as it is known where the first node is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect((host, port))  # sends nothing
        return str(way.getsockname()[0])


def free_port(address: str) -> int:
    """A port that nobody listens on."""
    with socket.socket() as door:
        door.bind((address, 0))
        return int(door.getsockname()[1])


def wait_for(address: str) -> None:
    """Wait until somebody listens there."""
    host, _, port = address.rpartition(":")
    give_up = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
