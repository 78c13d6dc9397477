"""A real Ray on the testbed's hosts: from the command to the first all-reduce."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.commands import PEERS, PROGRAMS, plaunch
from benchmarks.hosts import Run
from benchmarks.rows import BenchError, Row, Rows, alternate, faster
from tests.testbed import Ray, Testbed, wait_until

HOSTS = 4
PROCS = 2
RANKS = HOSTS * PROCS
DEADLINE_S = 240.0
# The peers' Ray, of the same version as ours, serves both: only it can run Ray Train's workers.
PATH = f"{PEERS}:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# Ray Train leaves one in the cluster, for its next run.
KEPT = "ray::_AutoscalingCoordinatorActor"


def rows(repeats: int) -> Iterator[Rows]:
    """All rows of this family."""
    if reason := Testbed.missing():
        raise BenchError(f"no real hosts: {reason}")
    # As many processors as ranks: Ray starts a worker for each in advance.
    with (
        Testbed(HOSTS) as bed,
        Ray(bed, num_gpus=0, num_cpus=PROCS, env={"PATH": PATH}) as ray,
    ):
        yield lambda: [first_all_reduce(ray, repeats)]


def first_all_reduce(ray: Ray, repeats: int) -> Row:
    """Ray Train's trainer for torch, and plaunch; both are started on the cluster's head."""
    trainer = [str(PEERS / "python"), str(PROGRAMS / "ray_train.py"), str(RANKS), str(PROCS)]
    nodes = ("--cluster", "ray", "--nodes", HOSTS, "--gpus", 0, "--procs", PROCS)
    ours = plaunch(*nodes, "--env", "BENCHMARK_MARKS", PROGRAMS / "all_reduce.py")
    peer_s, our_s = alternate(
        repeats,
        lambda: _seconds_to_reduce(ray, trainer),
        lambda: _seconds_to_reduce(ray, ours),
    )
    row = Row(
        key="ray",
        what="Ray cluster up, command to first all-reduce of all ranks, "
        f"{HOSTS} nodes x {PROCS} ranks",
        target="ratio at least 4",
        peer_name="ray.train TorchTrainer",
        peer=peer_s,
        ours=our_s,
    )
    return faster(row, 4.0)


def _seconds_to_reduce(ray: Ray, argv: Sequence[str]) -> float:
    with Run(ray.testbed, argv, host=1, tidy=tidy(ray)) as run:
        reduced = run.all_marks("reduced", RANKS, DEADLINE_S)
        return max(one["time"] for one in reduced) - run.started


def tidy(ray: Ray) -> Callable[[], None]:
    """What is done after each run: wait until only Ray is left, or else start it anew."""

    def left() -> list[str]:
        jobs = [job for host in ray.hosts for job in ray.jobs(host)]
        return [name for job in jobs if (name := " ".join(job.cmdline[:1])) != KEPT]

    def until_empty() -> None:
        try:
            wait_until(lambda: not left(), "nothing but Ray is left", 30)
        except TimeoutError:
            ray.down()
            ray.up()

    return until_empty
