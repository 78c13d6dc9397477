"""Four real hosts of the testbed, each with its own sshd, started from a fifth."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.commands import (
    BIN,
    PROGRAMS,
    Command,
    all_marks,
    folder,
    gone,
    marks,
    plaunch,
    torchrun,
)
from benchmarks.hosts import DEADLINE_S, Run, processes
from benchmarks.rows import BenchError, Row, Rows, alternate, below, faster, smaller
from tests.testbed import Testbed

HOSTS = 4
PROCS = 2
RANKS = HOSTS * PROCS
CULPRIT = RANKS - 1
NEVER_S = 20.0  # long enough to say that a peer does not end by itself

_ports = itertools.count(29400)  # of torchrun's rendezvous; a new one each time


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    reason = Testbed.missing()
    if reason is not None:
        raise BenchError(f"no real hosts: {reason}")
    with Testbed(HOSTS) as bed:
        yield lambda: first_all_reduce(bed, repeats)
        yield lambda: [end(bed, repeats)]


def first_all_reduce(bed: Testbed, repeats: int) -> Iterator[Row]:
    """torchrun by ssh on each host, plaunch --hosts, and the bound of both."""
    bound, peer, ours = alternate(
        repeats,
        four_imports,
        lambda: _seconds_to_reduce(bed, over_ssh("all_reduce.py")),
        lambda: _seconds_to_reduce(bed, over_plaunch("all_reduce.py")),
    )
    what = f"command to first all-reduce of all ranks, {HOSTS} SSH hosts x {PROCS} ranks"
    row = Row(
        key="ssh",
        what=what,
        target="ratio at least 2.5",
        peer_name="torchrun (c10d) by ssh",
        peer=peer,
        ours=ours,
    )
    yield faster(row, 2.5)
    row = Row(
        key="ssh_bound",
        what=f"the same over its bound, {HOSTS} times `import torch` side by side",
        target="ours/bound at most 2",
        peer_name="the bound",
        peer=bound,
        ours=ours,
    )
    yield smaller(row, 2.0)


def four_imports() -> float:
    """Seconds until the last of four interpreters has imported torch."""
    with folder() as where:
        argv = [str(BIN / "python"), str(PROGRAMS / "import_torch.py")]
        commands = [Command(argv, where, {"RANK": str(number)}) for number in range(HOSTS)]
        try:
            for command in commands:
                command.succeed()
        finally:
            for command in commands:
                command.end()
        imported = all_marks(where, "imported", HOSTS)
        return max(one["time"] for one in imported) - commands[0].started


def over_plaunch(program: str, *args: object) -> list[str]:
    """One command on the login host."""
    hosts = ("--hosts", f"host[1-{HOSTS}]", "--procs", PROCS)
    env = ("--env", "BENCHMARK_MARKS")
    return plaunch(*hosts, *env, PROGRAMS / program, *args)


def over_ssh(program: str, *args: object) -> list[str]:
    """As people do it by hand: torchrun by ssh on each host, all at once."""
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"host1:{next(_ports)}")
    shape = ("--nnodes", HOSTS, "--nproc-per-node", PROCS)
    words = torchrun(*shape, *meet, PROGRAMS / program, *args)
    there = f"BENCHMARK_MARKS=$BENCHMARK_MARKS exec {shlex.join(words)}"
    lines = [f'ssh host{number} "{there}" & pids="$pids $!"' for number in range(1, HOSTS + 1)]
    return ["sh", "-c", "\n".join([*lines, "code=0; for p in $pids; do wait $p || code=1; done"])]


def _seconds_to_reduce(bed: Testbed, argv: Sequence[str]) -> float:
    with Run(bed, argv) as run:
        return max(one["time"] for one in run.all_marks("reduced", RANKS)) - run.started


def end(bed: Testbed, repeats: int) -> Row:
    """From a rank's death until no rank runs on any host; all others are at work, none waits."""
    (ours,) = alternate(repeats, lambda: _seconds_to_end(bed, over_plaunch("die.py", CULPRIT)))
    try:
        told = f"{_seconds_to_end(bed, over_ssh('die.py', CULPRIT), NEVER_S):.2f} s"
    except BenchError as error:
        told = str(error).splitlines()[0]
    row = Row(
        key="end_ssh",
        what=f"a rank dies, until every rank on every host is gone, {HOSTS} SSH hosts x {PROCS}",
        target="at most 2 s",
        peer_name="torchrun (c10d) by ssh",
        peer_text=told,
        ours=ours,
    )
    return below(row, 2.0)


def _seconds_to_end(bed: Testbed, argv: Sequence[str], patience_s: float = DEADLINE_S) -> float:
    with Run(bed, argv) as run:
        give_up = time.monotonic() + DEADLINE_S
        while not (death := marks(run.where, "dying")):
            if time.monotonic() > give_up or run.process.poll() is not None:
                raise run.fail("no rank came to 'dying'")
            # Look before the death: afterwards there may be no time for it.
            if len(reduced := marks(run.where, "reduced")) == RANKS:
                pids = _outer_pids(bed, reduced)
                break
            time.sleep(0.005)
        try:
            last = gone(pids, time.monotonic() + patience_s)
        except BenchError as error:
            raise BenchError(f"{error} after {patience_s:.0f} s") from None
        (death,) = all_marks(run.where, "dying", 1)
        return last - float(death["time"])


def _outer_pids(bed: Testbed, reduced: Sequence[dict[str, Any]]) -> list[int]:
    """The ranks' process ids as this machine sees them."""
    wanted = {(one["host"], one["pid"]) for one in reduced}
    found = [p.pid for host, p in processes(bed) if (host, p.host_pid) in wanted]
    if len(found) != len(wanted):
        raise BenchError(f"found {len(found)} of {len(wanted)} ranks on the hosts")
    return found
