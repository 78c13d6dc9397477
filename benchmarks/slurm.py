"""A real SLURM on the testbed's hosts: inside an allocation that has just been given."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from benchmarks.commands import BIN, PROGRAMS, plaunch, torchrun
from benchmarks.hosts import DEADLINE_S, Run, processes
from benchmarks.rows import BenchError, Row, Rows, alternate, faster, within
from tests.testbed import Slurm, Testbed, wait_until

HOSTS = 4
PROCS = 2
RANKS = HOSTS * PROCS
MANY = 32
AT_MOST_S = 0.5
READY = f"plaunch: {MANY} nodes have answered"

# Inside the allocation: notes when it was given, then runs a command in it.
STAMP = 'date +%s.%N >"$BENCHMARK_MARKS"/{name}'
GIVEN = f'{STAMP.format(name="given")}; exec "$@"'
# The first step of an allocation has to wait for its nodes; so one is run before. Without --overlap
# a step may wait a minute for the step before it, though that has ended.
SRUN_TRUE = f"srun --overlap --nodes={MANY} --ntasks={MANY} true"
BESIDE = "; ".join(
    (
        f"{SRUN_TRUE} && {STAMP.format(name='before')}",
        f"{SRUN_TRUE} && {STAMP.format(name='after')}",
        GIVEN,
    )
)

_ports = itertools.count(29400)  # of torchrun's rendezvous; a new one each time


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    if reason := Slurm.missing():
        raise BenchError(f"no SLURM to measure on: {reason}")
    with Testbed(HOSTS) as bed, Slurm(bed) as slurm:
        yield lambda: [first_all_reduce(slurm, repeats)]
    with Testbed(MANY) as bed, Slurm(bed) as slurm:
        yield lambda: [agents_ready(slurm, repeats)]


def salloc(script: str, *command: str, nodes: int = HOSTS) -> list[str]:
    """A command in an allocation of its own, with a task a node and room for the ranks."""
    shape = (f"--nodes={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={PROCS}")
    return ["salloc", "--quiet", *shape, "sh", "-c", script, "sh", *command]


def first_all_reduce(slurm: Slurm, repeats: int) -> Row:
    """torchrun by srun, as its documentation has it, and plaunch."""

    def over_srun() -> list[str]:
        meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"host1:{next(_ports)}")
        shape = ("--nnodes", HOSTS, "--nproc-per-node", PROCS)
        return ["srun", *torchrun(*shape, *meet, PROGRAMS / "all_reduce.py")]

    def over_plaunch() -> list[str]:
        return plaunch("--procs", PROCS, PROGRAMS / "all_reduce.py")

    peer, ours = alternate(
        repeats,
        lambda: _seconds_to_reduce(slurm, over_srun()),
        lambda: _seconds_to_reduce(slurm, over_plaunch()),
    )
    row = Row(
        key="slurm",
        what="allocation given to first all-reduce of all ranks, "
        f"{HOSTS} SLURM nodes x {PROCS} ranks",
        target="ratio at least 2.5",
        peer_name="srun torchrun (c10d)",
        peer=peer,
        ours=ours,
    )
    return faster(row, 2.5)


def _seconds_to_reduce(slurm: Slurm, command: Sequence[str]) -> float:
    with Run(slurm.testbed, salloc(GIVEN, *command), tidy=tidy(slurm)) as run:
        reduced = run.all_marks("reduced", RANKS)
        return max(one["time"] for one in reduced) - stamp(run, "given")


def agents_ready(slurm: Slurm, repeats: int) -> Row:
    """``srun true`` on all nodes, and then plaunch until it has heard of them all.

    Without torch: what is started is no program of Python's.
    """
    peer: list[float] = []

    def ours() -> float:
        seconds, srun_s = _seconds_to_agents(slurm)
        peer.append(srun_s)
        return seconds

    (samples,) = alternate(repeats, ours)
    row = Row(
        key="agents_ready",
        what=f"agents ready on {MANY} SLURM nodes, no torch",
        target=f"at most {AT_MOST_S:g} s more",
        peer_name=f"srun --nodes={MANY} true",
        peer=tuple(peer[-len(samples) :]),
        ours=samples,
        note="both in one allocation, and all nodes on this one machine",
    )
    return within(row, AT_MOST_S)


def _seconds_to_agents(slurm: Slurm) -> tuple[float, float]:
    """Seconds from plaunch's start until every agent has answered; and those of ``srun true``."""
    words = (str(BIN / "plaunch"), "--verbose", "--procs", "1", "--no-python", "true")
    argv = salloc(BESIDE, *words, nodes=MANY)
    with Run(slurm.testbed, argv, tidy=tidy(slurm)) as run:
        ready = _time_of(run, READY)
        if run.wait() != 0:
            raise run.fail(f"plaunch failed on {MANY} nodes")
        return ready - stamp(run, "given"), stamp(run, "after") - stamp(run, "before")


def _time_of(run: Run, line: str) -> float:
    """The wall clock when a run says a line. Raises BenchError when it ends without."""
    give_up = time.monotonic() + DEADLINE_S
    log = run.where / "log"
    while True:
        over = run.process.poll() is not None or time.monotonic() > give_up
        if line in log.read_text(errors="replace"):
            return time.time()
        if over:
            raise run.fail(f"it did not say {line!r}")
        time.sleep(0.002)


def stamp(run: Run, name: str) -> float:
    """The wall clock that a script in the allocation has written down."""
    with suppress(OSError, ValueError):
        return float((run.where / name).read_text())
    raise run.fail(f"it did not come to '{name}'")


def tidy(slurm: Slurm) -> Callable[[], None]:
    """What is done after each run: the allocation is given back, and no process is left."""

    def until_empty() -> None:
        slurm.reset()
        wait_until(lambda: not processes(slurm.testbed), "every host is empty", 20)

    return until_empty
