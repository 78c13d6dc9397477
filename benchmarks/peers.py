"""Makes the peers' environment, ``.venv-peers``: ``python -m benchmarks.peers``."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.commands import HERE, PEERS, PROJECT

WANTED = HERE / "peers.txt"
DONE = PEERS.parent / "installed.txt"  # a copy of what was asked for, once it is all there


def make() -> None:
    """Make the environment unless it is there as ``peers.txt`` wants it."""
    if DONE.exists() and DONE.read_text() == WANTED.read_text():
        return
    print("making .venv-peers (Lightning, Accelerate, Ray Train, torch) ...", flush=True)
    if not (PEERS / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS.parent)], check=True)
    # The constraints keep torch the same build as ours.
    pip = [str(PEERS / "python"), "-m", "pip", "install", "--quiet"]
    constraints = ["-c", str(PROJECT / "constraints.txt")]
    subprocess.run([*pip, *constraints, "-r", str(WANTED)], check=True)
    DONE.write_text(WANTED.read_text())


def versions() -> dict[str, str]:
    """What is installed there of the peers."""
    names = ("torch", "lightning", "accelerate", "ray")
    code = f"from importlib.metadata import version; print(*map(version, {names!r}))"
    done = subprocess.run(
        [str(PEERS / "python"), "-c", code], capture_output=True, text=True, check=True
    )
    return dict(zip(names, done.stdout.split(), strict=True))


if __name__ == "__main__":
    make()
