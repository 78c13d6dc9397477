"""A Ray cluster on the nodes of a job: starts it, runs a command on the first node, and ends it.

    plaunch --cluster slurm --nodes 4 --procs 1 --sbatch="--gpus-per-node=8 --cpus-per-task=8" \
        slurm/ray_cluster.py COMMAND [WORD ...]

plaunch runs this once a node, as any other program of several ranks; the ranks tell each other
what they need to know by the store that plaunch has started for them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore

PREEMPTED = 75
START_S = 120
PASSED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def main() -> int:
    """One node's part; returns the exit code."""
    rank, num_nodes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, is_master=False, timeout=timedelta(days=365))
    own = own_address(host, port)
    token = Path(os.environ["PLAUNCH_RUN_DIR"], "ray-token")
    if os.environ.setdefault("RAY_AUTH_MODE", "token") == "token":
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    if rank > 0:
        # A warning is the first node's: this one ends when that has ended.
        for number in PASSED_ON:
            signal.signal(number, signal.SIG_IGN)
        address = store.get("ray address").decode()
        with ray("--address", address, "--node-ip-address", own):
            store.set(f"node {rank}", "has joined")
            code = int(store.get("exit code"))
        return code if code == PREEMPTED else 0
    ray_port = free_port(own)
    write_secret(token)
    with ray("--head", "--node-ip-address", own, "--port", str(ray_port)):
        store.set("ray address", f"{own}:{ray_port}")
        store.wait([f"node {other}" for other in range(1, num_nodes)], timedelta(seconds=START_S))
        code = run(sys.argv[1:], {**os.environ, "RAY_ADDRESS": f"{own}:{ray_port}"})
        store.set("exit code", str(code))
    token.unlink()
    return code


@contextlib.contextmanager
def ray(*words: str) -> Iterator[None]:
    """Ray on this node, as long as it is needed; it gets the GPUs that the job has here."""
    gpus = [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]
    process = subprocess.Popen(
        ["ray", "start", "--block", *words, f"--num-gpus={len(gpus)}", "--disable-usage-stats"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "Ray runtime started" in line:
            break
    else:
        sys.exit(f"Ray can't start on {socket.gethostname()}:\n{said}")
    threading.Thread(target=process.stdout.read, daemon=True).start()  # so that it never waits
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def write_secret(file: Path) -> None:
    """What every part of this Ray has to show; without it any user of the machines could use it."""
    file.unlink(missing_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(secrets.token_hex(32))


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


if __name__ == "__main__":
    sys.exit(main())
