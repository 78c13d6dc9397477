"""How many ranks each node gets, and their numbers, from the GPUs of each. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.core.errors import PlacementError
from launcher.core.job import Job, Node, Placement


def wanted_nodes(job: Job, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The cluster's first nodes, as many as the job may have. Raises PlacementError."""
    least = job.min_nodes or len(nodes)
    if least > len(nodes):
        raise PlacementError(
            f"asked for {least} nodes, but the cluster has {len(nodes)}: lower --nodes or add hosts"
        )
    return tuple(nodes[: job.max_nodes or len(nodes)])


def ranks_per_node(num_gpus: int, procs: int | None, node: str, meant: int | None = None) -> int:
    """How many ranks a node with ``num_gpus`` GPUs for the job gets. Raises PlacementError.

    ``meant`` is what the cluster says, for nodes without GPUs.
    """
    if procs is None:
        return num_gpus or meant or 1
    if num_gpus > 0 and (num_gpus > procs or procs % num_gpus):
        if num_gpus % procs == 0:
            return procs
        raise PlacementError(
            f"{node}: {procs} ranks can't share {num_gpus} GPUs evenly; "
            "make --procs a multiple of --gpus, or the other way round"
        )
    return procs


def place(
    nodes: Sequence[Node],
    gpus: Mapping[str, tuple[str, ...]],
    procs: int | None,
    *,
    share_all: bool,
) -> tuple[Placement, ...]:
    """Ranks in the order of the nodes, rank 0 on the first.

    ``gpus`` names those that each node gives to the job. ``share_all``: only ``procs`` was given,
    so that many ranks see all of a node's GPUs, however many there are.
    """
    places = []
    first = 0
    for node_rank, node in enumerate(nodes):
        mine = gpus.get(node.name, ())
        count = (
            procs
            if share_all and procs
            else ranks_per_node(len(mine), procs, node.name, node.ranks)
        )
        places.append(Placement(node, node_rank, first, count, mine))
        first += count
    return tuple(places)
