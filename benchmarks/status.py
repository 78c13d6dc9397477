"""``plaunch status`` beside ``squeue``, with one job in SLURM's queue and with many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.commands import BIN, PROGRAMS
from benchmarks.rows import BenchError, Row, Rows, alternate
from tests.testbed import Slurm, Testbed

MANY = 200
PATH = f"{BIN}:/usr/local/bin:/usr/bin:/bin"
COUNTED = "/shared/counted"  # holds stand-ins that write down what is called
CALLS = "/shared/calls"
COMMANDS = ("squeue", "scontrol", "sacct")
STAND_IN = f"""\
mkdir -p {COUNTED}
for name in {" ".join(COMMANDS)}; do
    real=$(command -v $name)
    printf '#!/bin/sh\\necho %s >>{CALLS}\\nexec %s "$@"\\n' $name $real >{COUNTED}/$name
    chmod +x {COUNTED}/$name
done"""
SECONDS = 'date +%s.%N; "$@" >/shared/said; date +%s.%N'


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    if reason := Slurm.missing():
        raise BenchError(f"no SLURM to measure on: {reason}")
    with Testbed(1) as bed, Slurm(bed):
        _call(bed, "sh", "-c", STAND_IN)
        there = 0
        for count in (1, MANY):
            yield lambda count=count, there=there: [status(bed, repeats, count, count - there)]
            there = count


def status(bed: Testbed, repeats: int, count: int, new: int) -> Row:
    """The time that it takes, and how often it asks SLURM; ``new`` jobs are queued before."""
    _call(bed, str(BIN / "python"), str(PROGRAMS / "queue_jobs.py"), str(new))
    ours_argv = (str(BIN / "plaunch"), "status", "--all")
    peer, ours = alternate(
        repeats,
        lambda: _seconds(bed, count, "squeue", "--noheader"),
        lambda: _seconds(bed, count + 1, *ours_argv),
    )
    calls = _calls(bed, *ours_argv)
    jobs = "1 job" if count == 1 else f"{count} jobs"
    row = Row(
        key=f"status_{count}",
        what=f"`plaunch status`, {jobs} in SLURM's queue",
        target="SLURM is asked once",
        peer_name="squeue",
        peer=peer,
        ours=ours,
        note=f"it asks SLURM by {' and '.join(calls) or 'nothing'}",
    )
    return replace(row, met=len(calls) == 1)


def _seconds(bed: Testbed, num_lines: int, *argv: str) -> float:
    """How long a command on the login host takes, which prints as many lines."""
    first, last = map(float, _call(bed, "sh", "-c", SECONDS, "sh", *argv).split())
    said = (bed.shared / "said").read_text().splitlines()
    if len(said) != num_lines:
        raise BenchError(f"{argv[0]} said {len(said)} lines, not {num_lines}")
    return last - first


def _calls(bed: Testbed, *argv: str) -> list[str]:
    """The commands of SLURM that a command calls, in their order."""
    calls = bed.shared / "calls"
    calls.write_text("")
    _call(bed, *argv, path=f"{COUNTED}:{PATH}")
    return calls.read_text().split()


def _call(bed: Testbed, *argv: str, path: str = PATH) -> str:
    """Run a program on the login host; what it says. Raises BenchError if it fails."""
    env = {"PATH": path, "XDG_STATE_HOME": "/shared/state"}
    done = bed.call(0, argv, timeout_s=120, cwd="/shared", env=env)
    if done.returncode != 0:
        raise BenchError(f"{argv}: {done.stderr.strip()}")
    return done.stdout
