"""SLURM's reasons in words: why a job waits. Pure."""

from __future__ import annotations

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
