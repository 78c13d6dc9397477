"""What SLURM gave us: the allocation that we are inside of, from its variables alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from launcher.core.errors import ConfigError
from launcher.core.nodelist import NodeListError, expand

_COUNT = re.compile(r"([0-9]{1,9})(?:\(x([0-9]{1,6})\))?")


@dataclass(frozen=True)
class Allocation:
    """A SLURM allocation: its nodes, and how many CPUs we have on each (None if not told).

    ``gpus`` is how many GPUs of each node a step has to ask for: None where it gets them all by
    itself, as it does unless the job asked for GPUs by task. ``tasks`` are those of each node, if
    the job asked for tasks.
    """

    job_id: str
    nodes: tuple[str, ...]
    cpus: tuple[int, ...] | None = None
    gpus: int | None = None
    tasks: tuple[int, ...] | None = None

    def tasks_of(self, name: str) -> int | None:
        """The tasks that the job has on one of its nodes."""
        return None if self.tasks is None else self.tasks[self.nodes.index(name)]

    def cpus_of(self, name: str) -> int | None:
        """The CPUs of the job on one of its nodes."""
        return None if self.cpus is None else self.cpus[self.nodes.index(name)]


def read_allocation(environ: Mapping[str, str]) -> Allocation:
    """Read SLURM's variables. Raises ConfigError."""
    job_id = environ.get("SLURM_JOB_ID") or environ["SLURM_JOBID"]
    copies = environ.get("SLURM_STEP_NUM_TASKS", "1")
    if copies != "1":
        raise ConfigError(
            f"srun started plaunch {copies} times: start it once, without srun; it starts all the "
            "ranks on all nodes itself (a job of its own is submitted by --new-job)"
        )
    text = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST") or ""
    try:
        nodes = tuple(expand(text))
    except NodeListError as error:
        raise ConfigError(f"SLURM_JOB_NODELIST can't be read: {error}") from error
    if not nodes:
        raise ConfigError(
            f"SLURM_JOB_ID is {job_id}, but SLURM_JOB_NODELIST is not set: run plaunch inside the "
            "allocation (salloc, or an sbatch script), or unset SLURM_JOB_ID"
        )
    counts = []
    for name in ("SLURM_JOB_CPUS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        found = expand_counts(environ.get(name, ""))
        counts.append(found if len(found) == len(nodes) else None)
    cpus, tasks = counts
    asked = "SLURM_NTASKS" in environ  # else there is one a node in any case
    return Allocation(job_id, nodes, cpus, gpus_of_tasks(environ), tasks if asked else None)


def refuse_other_tasks(environ: Mapping[str, str]) -> None:
    """Of several tasks of a step the first one may submit a job. Raises ConfigError.

    A rank of plaunch's is asked for nothing: whoever submits from one means it.
    """
    if environ.get("SLURM_PROCID", "0") != "0" and "PLAUNCH_SOCKET" not in environ:
        raise ConfigError(
            f"--new-job: this is task {environ['SLURM_PROCID']} of an srun step, and each would "
            "submit a job of its own: only the first task may"
        )


def gpus_of_tasks(environ: Mapping[str, str]) -> int | None:
    """The GPUs that every node has, if the job asked for GPUs by task (``--gpus-per-task``)."""
    by_task = environ.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2]
    if not by_task.isdigit():
        return None
    here = environ.get("SLURM_GPUS_ON_NODE", "")
    if here.isdigit():
        return int(here)
    tasks = expand_counts(environ.get("SLURM_TASKS_PER_NODE", ""))
    return int(by_task) * min(tasks) if tasks else None


def expand_counts(text: str) -> tuple[int, ...]:
    """SLURM's numbers by node: ``2(x3),1`` is (2, 2, 2, 1). Empty if it can't be read."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        match = _COUNT.fullmatch(part.strip())
        if match is None:
            return ()
        counts += [int(match[1])] * int(match[2] or 1)
    return tuple(counts)
