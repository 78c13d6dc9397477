"""Which GPUs of which node a job gets: asks the agents, decides by :mod:`launcher.gpus`, leases."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.fleet import Fleet
from launcher.job import Job, Node, Placement
from launcher.placement import place


def choose_gpus(
    job: Job, nodes: Sequence[Node], fleet: Fleet
) -> tuple[tuple[Placement, ...], list[str]]:
    """Placements with GPUs, and lines for a person. Raises PlacementError."""
    return place(nodes, {}, job.procs, share_all=job.gpus is None), []
