"""What a run asks of Ray's resources: one bundle a node with its GPUs and CPUs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launcher.core.nodelist import natural_key


@dataclass(frozen=True)
class RayNode:
    """A node that Ray believes to be alive: what it has, and what of that nobody has claimed."""

    id: str
    name: str
    address: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float


@dataclass(frozen=True)
class Ask:
    """What a run wants of each node, and of how many (None: as many as there are).

    ``count`` GPUs (0 is none), or with None: ``all`` that a node has, or those that are ``free``;
    ``auto`` is those that are free, or none where no node has any.
    """

    gpus: Literal["count", "all", "free", "auto"]
    count: int | None = None
    procs: int | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None


@dataclass(frozen=True)
class Bundle:
    """The resources of one node of the run; ``address``: on this very node."""

    cpus: int
    gpus: int
    address: str | None = None

    @property
    def resources(self) -> dict[str, float]:
        """As Ray takes them."""
        wanted: dict[str, float] = {"CPU": self.cpus, "GPU": self.gpus}
        if self.address is not None:
            wanted[f"node:{self.address}"] = 0.001  # every node has 1 of its own
        return {name: amount for name, amount in wanted.items() if amount > 0}

    def fits(self, node: RayNode) -> bool:
        """Whether the node has room for it now."""
        return node.free_cpus >= self.cpus and node.free_gpus >= self.gpus

    def could_fit(self, node: RayNode) -> bool:
        """Whether the node would have room if nobody else used it."""
        return node.cpus >= self.cpus and node.gpus >= self.gpus


def choose(ask: Ask, nodes: Sequence[RayNode]) -> tuple[Bundle, ...]:
    """The bundles to ask Ray for; none if there is nothing to ask for yet.

    Equal bundles are for Ray to place and may have to wait there. Bundles that depend on what a
    node has are for that node, and are chosen only when there is room for all of them.
    """
    if _equal(ask, nodes):
        bundle = equal_bundle(ask, nodes)
        least = ask.min_nodes or 1
        if ask.min_nodes is None:
            number = sum(bundle.could_fit(node) for node in nodes)
        else:
            number = sum(bundle.fits(node) for node in nodes)
        return (bundle,) * max(least, min(number, ask.max_nodes or number))
    found = []
    owners = [node for node in nodes if node.gpus >= 1]
    for node in sorted(owners, key=lambda node: (-node.free_gpus, natural_key(node.name))):
        gpus = int(node.gpus if ask.gpus == "all" else node.free_gpus)
        bundle = Bundle(min(ask.procs or gpus, int(node.cpus)), gpus, node.address)
        if gpus >= 1 and bundle.fits(node):
            found.append(bundle)
    least = ask.min_nodes or (len(owners) if ask.gpus == "all" else 1)
    return tuple(found[: ask.max_nodes]) if len(found) >= max(least, 1) else ()


def equal_bundle(ask: Ask, nodes: Sequence[RayNode]) -> Bundle:
    """The bundle of every node, where a number of GPUs is asked for.

    A CPU for each rank. But who asks for GPUs gets them also where there are fewer CPUs than that.
    """
    gpus = ask.count or 0
    cpus = ask.procs or max(1, gpus)
    if gpus > 0:
        cpus = min([cpus, *(int(node.cpus) for node in nodes if node.gpus >= gpus)])
    return Bundle(cpus, gpus)


def shortage(ask: Ask, nodes: Sequence[RayNode]) -> str:
    """What was asked for and how many nodes have room for it, in one line."""
    if _equal(ask, nodes):
        bundle = equal_bundle(ask, nodes)
        each = f" with {amounts(bundle.gpus, bundle.cpus)}" + (
            "" if ask.max_nodes == 1 else " each"
        )
        room = sum(bundle.fits(node) for node in nodes)
    else:
        each = " with all GPUs free" if ask.gpus == "all" else " with a free GPU"
        owners = [node for node in nodes if node.gpus >= 1]
        whole = ask.gpus == "all"
        room = sum(node.free_gpus >= (node.gpus if whole else 1) for node in owners)
    return f"asked for {_number(ask)}{each}, there is room on {room} of {len(nodes)}"


def description(node: RayNode) -> str:
    """What a node has: ``8 GPUs (2 free), 16 CPUs (all free)``."""
    parts = [
        f"{_count(total, word)} ({_free(free, total)})"
        for total, free, word in (
            (node.gpus, node.free_gpus, "GPU"),
            (node.cpus, node.free_cpus, "CPU"),
        )
        if total > 0
    ]
    return ", ".join(parts) or "no GPU and no CPU for jobs"


def amounts(gpus: float, cpus: float) -> str:
    """``8 GPUs and 8 CPUs``."""
    counted = ((gpus, "GPU"), (cpus, "CPU"))
    return " and ".join(_count(amount, word) for amount, word in counted if amount > 0)


def _equal(ask: Ask, nodes: Sequence[RayNode]) -> bool:
    if ask.count is not None:
        return True
    return ask.gpus == "auto" and not any(node.gpus >= 1 for node in nodes)


def _number(ask: Ask) -> str:
    if ask.min_nodes is None:
        return "nodes"
    if ask.min_nodes == ask.max_nodes:
        return f"{ask.min_nodes} node{'s' if ask.min_nodes > 1 else ''}"
    return f"{ask.min_nodes} to {ask.max_nodes} nodes"


def _count(amount: float, word: str) -> str:
    return f"{amount:g} {word}{'' if amount == 1 else 's'}"


def _free(free: float, total: float) -> str:
    return "all free" if free >= total else f"{free:g} free"
