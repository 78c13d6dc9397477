"""SLURM's reasons in words: why a job waits, and whether it can ever start. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.clusters.slurm.jobs import Partition, SlurmJob

_WAITS = {
    "Resources": "its nodes are not free yet",
    "Priority": "other jobs come first",
    "BeginTime": "it may not begin before a certain time",
    "Dependency": "the jobs that it depends on are not over",
    "DependencyNeverSatisfied": "what it depends on will never come: cancel it",
    "JobHeldUser": "it is held: scontrol release lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "JobArrayTaskLimit": "as many tasks as --array allows at once are running",
    "JobHoldMaxRequeue": "it was requeued too often, and is held",
    "Licenses": "a licence is not free yet",
    "NodeDown": "a node that it asks for is down",
    "ReqNodeNotAvail": "nodes that it asks for can't be used now",
    "Reservation": "its reservation has not begun",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition takes no jobs now",
    "PartitionNodeLimit": "its partition has, or allows, fewer nodes than it asks for (some may be "
    "down): it can't start like this",
    "PartitionTimeLimit": "it asks for more time than its partition allows: it can't start like "
    "this",
    "PartitionConfig": "its partition has no such nodes: it can't start like this",
    "BadConstraints": "no node is as it asks: it can't start like this",
    "InvalidAccount": "its account is not valid: it can't start like this",
    "InvalidQOS": "its quality of service is not valid: it can't start like this",
    "Cleaning": "its former run is still being cleaned up",
    "Prolog": "its nodes are being prepared",
}


def why_it_waits(reason: str) -> str:
    """A reason of a job that waits, with SLURM's own word for it; empty if there is none yet."""
    name = reason.partition(",")[0]
    if not name or name == "None":
        return ""
    words = _WAITS.get(name)
    if words is None and name.startswith("QOS"):
        words = "a limit of its quality of service is reached"
    if words is None and name.startswith("Assoc"):
        words = "a limit of its account is reached"
    return f"{words} ({name})" if words else name


# -- what never starts

# Nothing but a change of the job, or of the cluster by its administrator, ends these.
_NEVER = {
    "PartitionTimeLimit", "BadConstraints", "InvalidAccount", "InvalidQOS", "AccountNotAllowed",
    "QOSNotAllowed", "DependencyNeverSatisfied",
}  # fmt: skip


def never_starts(job: SlurmJob, partitions: Sequence[Partition]) -> str | None:
    """Why a job that waits can't ever start, in words; None if it may.

    More nodes than a partition has are never free; some that are down now may come back.
    """
    name = job.reason.partition(",")[0]
    limit_of_one = name.startswith(("QOS", "Assoc")) and ("PerJob" in name or "QOSMin" in name)
    if job.state != "PENDING":
        return None
    if name in _NEVER or limit_of_one:
        return why_it_waits(name)
    if name == "PartitionNodeLimit":
        said = too_many_nodes(job.num_nodes, job.partition, partitions, limits=True)
        return None if said is None else f"{said} ({name})"
    return None


def exceeds_limits(job: SlurmJob, partitions: Sequence[Partition]) -> bool:
    """Whether a job asks for more than its partitions allow, which need not keep it for ever."""
    meant = [one for one in partitions if one.name in job.partition.split(",")]
    wanted = seconds(job.time_limit)

    def fits(one: Partition) -> bool:
        most = seconds(one.max_time or "")
        in_time = most is None or (wanted is not None and wanted <= most)
        return in_time and (one.max_nodes is None or job.num_nodes <= one.max_nodes)

    return bool(meant) and not any(map(fits, meant))


def seconds(text: str) -> int | None:
    """A duration as SLURM writes it (``1-00:00:00``, ``02:00:00``, ``05:00``); None: no limit."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdigit() for part in [*parts, *([days] if dash else [])]):
        return None
    hours, minutes, rest_s = [0] * (3 - len(parts)) + [int(part) for part in parts[:3]]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_s


def too_many_nodes(
    num_nodes: int, asked: str, partitions: Sequence[Partition], *, limits: bool = False
) -> str | None:
    """Whether no partition that was asked for (``a,b``, or none: the default) has so many nodes.

    ``limits``: nor allows so many, which a quality of service may overrule.
    """
    names = [name for name in asked.split(",") if name]
    meant = [one for one in partitions if (one.name in names if names else one.default)]
    if not meant or len(meant) < len(names):
        return None
    allowed = [
        one.num_nodes if not limits or one.max_nodes is None else min(one.num_nodes, one.max_nodes)
        for one in meant
    ]
    if num_nodes <= max(allowed):
        return None
    where = ", ".join(f"{one.name} has {most}" for one, most in zip(meant, allowed, strict=True))
    return f"{num_nodes} nodes are asked for, and partition {where}"
