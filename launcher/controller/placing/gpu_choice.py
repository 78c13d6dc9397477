"""Which GPUs a run takes on each node. Pure decisions over what the nodes have sent.

What is chosen is named by UUIDs, never by numbers, and so goes into CUDA_VISIBLE_DEVICES: a UUID
means the same GPU whatever CUDA_DEVICE_ORDER says, inside a container or a SLURM step that
renumbers, beside a broken GPU, and for MIG instances, which have no number at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from launcher.controller.placing.gpus import Gpu, divide, from_json
from launcher.core.gpu_spec import GpuRequest
from launcher.core.nodelist import fold


@dataclass(frozen=True)
class NodeGpus:
    """The GPUs of a node, those its cluster file allows (None: all), and why none could be seen."""

    name: str
    gpus: tuple[Gpu, ...]
    limit: tuple[str, ...] | None = None
    error: str = ""


@dataclass(frozen=True)
class Choice:
    """What a node gives to the run: UUIDs, lines for a person, or a problem instead.

    ``must_lease``: a GPU whose lease is refused has to be chosen anew, since another run was
    quicker; else the user named it and it is used all the same.
    """

    gpus: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None
    must_lease: bool = True


class _Problem(Exception):
    """Why a request can't be met; ends in ``Choice.problem``."""


def node_gpus(
    name: str, probed: Mapping[str, Any], limit: tuple[str, ...] | None = None
) -> NodeGpus:
    """Read what ``gpu_probe.probe_node`` said on a node. Raises ValueError on anything else."""
    return NodeGpus(name, from_json(probed["gpus"]), limit, str(probed["error"]))


def choose(request: GpuRequest, node: NodeGpus) -> Choice:
    """Choose one node's GPUs for a request (not per_node)."""
    try:
        gpus, notes = _choose(request, node, str(request))
    except _Problem as problem:
        return Choice(problem=str(problem))
    return _choice(request, node, gpus, notes)


def choose_all(
    request: GpuRequest, nodes: Sequence[NodeGpus], *, one_machine: bool = False
) -> tuple[Choice, ...]:
    """Choose for every node of a run, in their order.

    ``one_machine``: the nodes are parts of the same machine, so its GPUs are divided among them;
    a list, or all, names the GPUs of all nodes together, and a count is for each.
    """
    if request.kind == "per_node":
        choices = _choose_per_node(request, nodes)
    elif one_machine and len(nodes) > 1:
        choices = _choose_divided(request, nodes)
    else:
        choices = tuple(choose(request, node) for node in nodes)
    if request.kind == "auto":
        choices = _refuse_mixture(nodes, choices)
    return _refuse_twice(nodes, choices) if one_machine else choices


def _choose(request: GpuRequest, node: NodeGpus, asked: str) -> tuple[list[Gpu], list[str]]:
    """Pick the GPUs, with notes about them. Raises _Problem."""
    if request.kind == "count" and request.count == 0:
        return [], []
    there = _allowed(node)
    if not there:
        why = f" ({node.error})" if node.error else ""
        if request.kind == "auto":
            # as the user wanted it
            hidden = node.error.startswith(("CUDA_VISIBLE_DEVICES", "the SLURM job"))
            return [], [f"{node.name}: no GPU is used{why}"] if why and not hidden else []
        raise _Problem(f"asked for {asked}, {node.name} has none{why}: --gpus 0 uses the CPU")
    if request.kind == "list":
        return _pick_listed(request, node, there), []
    if request.kind == "all":
        return there, []
    free = [gpu for gpu in there if gpu.free]
    if request.count is not None and len(free) >= request.count:
        return free[: request.count], []
    if request.kind == "count":
        return _pick_busy_too(request, node, there, asked), []
    if not free or request.count is not None:
        advice = "ask for busy ones by number, as in --gpus 0,1" if not free else "ask for fewer"
        raise _Problem(f"asked for {asked}, {_summary(node, there)}; {advice}")
    busy = [gpu for gpu in there if not gpu.free]
    return free, [f"{node.name}: left out: {_listing(busy)}"] if busy else []


def _pick_listed(request: GpuRequest, node: NodeGpus, there: list[Gpu]) -> list[Gpu]:
    gpus = []
    for entry in request.entries:
        matches = [gpu for gpu in node.gpus if _matches(gpu, entry)]
        if not matches:
            raise _Problem(f"asked for GPU {entry}, {node.name} has {_names(there)}")
        if len(matches) > 1:
            kind = "split into MIG instances" if matches[0].parent else "not the only one"
            uuids = ", ".join(gpu.uuid for gpu in matches)
            raise _Problem(f"GPU {entry} of {node.name} is {kind}, name one of them: {uuids}")
        if matches[0] not in there:
            raise _Problem(
                f"asked for GPU {entry}, the cluster file allows {node.name} only {_names(there)}"
            )
        if matches[0] in gpus:
            raise _Problem(f"GPU {entry} of {node.name} is asked for twice")
        gpus.append(matches[0])
    return gpus


def _pick_busy_too(request: GpuRequest, node: NodeGpus, there: list[Gpu], asked: str) -> list[Gpu]:
    """Too few are free: add busy ones, the least busy first, but none that another run leased."""
    assert request.count is not None
    free = [gpu for gpu in there if gpu.free]
    others = [gpu for gpu in there if not gpu.free and not gpu.leased and not gpu.blocked]
    others.sort(key=lambda gpu: (len(gpu.processes), gpu.memory_used))
    missing = request.count - len(free)
    if len(others) < missing:
        raise _Problem(f"asked for {asked}, {_summary(node, there)}")
    chosen = [gpu for gpu in there if gpu in free or gpu in others[:missing]]
    return chosen


def _choice(request: GpuRequest, node: NodeGpus, gpus: list[Gpu], notes: list[str]) -> Choice:
    """Check the GPUs that were picked, and say what a person should know about them."""
    for gpu in gpus:
        if gpu.blocked:
            return Choice(problem=f"{node.name}: {_name(gpu)} can't be used: {gpu.blocked}")
    busy = [gpu for gpu in gpus if not gpu.free]
    if busy:
        notes = [*notes, f"{node.name}: taken although busy: {_listing(busy)}"]
    moved = [gpu for gpu in gpus if gpu.index != gpu.machine_index]
    if moved and any(entry.isdigit() for entry in request.entries):
        notes = [
            *notes,
            f"{node.name}: numbers count what CUDA_VISIBLE_DEVICES leaves: "
            f"{moved[0].index} is GPU {moved[0].machine_index} of the machine",
        ]
    if len(gpus) > 1 and any(gpu.parent for gpu in gpus):
        one = f"{node.name}: a process sees one MIG instance only, the first of its list"
        notes = [*notes, one]
    uuids = tuple(gpu.uuid for gpu in gpus)
    return Choice(uuids, tuple(notes), must_lease=not request.explicit)


def _choose_per_node(request: GpuRequest, nodes: Sequence[NodeGpus]) -> tuple[Choice, ...]:
    wanted = dict(request.nodes)
    names = [node.name for node in nodes]
    strangers = [name for name in wanted if name not in names]
    choices = []
    for node in nodes:
        if strangers:
            problem = f"--gpus names {fold(strangers)}, but the nodes are {fold(names)}"
            choices.append(Choice(problem=problem))
        elif node.name not in wanted:
            problem = f"--gpus says nothing of {node.name}: add ;{node.name}:LIST, or :0 for none"
            choices.append(Choice(problem=problem))
        else:
            choices.append(choose(wanted[node.name], node))
    return tuple(choices)


def _choose_divided(request: GpuRequest, nodes: Sequence[NodeGpus]) -> tuple[Choice, ...]:
    machine, number = nodes[0], len(nodes)
    asked = str(request)
    total = request
    if request.count:
        total = replace(request, count=request.count * number)
        asked = f"{request} for each of {number} nodes"
    try:
        gpus, notes = _choose(total, machine, asked)
        if gpus and len(gpus) < number:
            raise _Problem(
                f"{number} nodes can't share {_names(gpus)} of this machine: "
                f"--nodes {len(gpus)}, or --gpus 0 to use the CPU"
            )
        if request.kind == "list" and len(gpus) % number:
            raise _Problem(f"{len(gpus)} GPUs can't be divided evenly among {number} nodes")
    except _Problem as problem:
        return tuple(Choice(problem=str(problem)) for _ in nodes)
    parts = divide(gpus, number)
    return tuple(
        _choice(request, node, list(part), notes if node is machine else [])
        for node, part in zip(nodes, parts, strict=True)
    )


def _refuse_mixture(nodes: Sequence[NodeGpus], choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """Without a word about GPUs, ranks on some nodes must not end on the CPU in silence."""
    if not any(choice.gpus for choice in choices):
        return tuple(choices)
    problem = "{} has no GPU, other nodes have: leave it out, or use the CPU of all by --gpus 0"
    return tuple(
        choice if choice.gpus or choice.problem else Choice(problem=problem.format(node.name))
        for node, choice in zip(nodes, choices, strict=True)
    )


def _refuse_twice(nodes: Sequence[NodeGpus], choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """No GPU of one machine may go to two of the nodes it acts as."""
    counts = Counter(uuid for choice in choices for uuid in choice.gpus)
    problem = "{}: a GPU is given to two nodes of this machine"
    return tuple(
        Choice(problem=problem.format(node.name))
        if any(counts[uuid] > 1 for uuid in choice.gpus)
        else choice
        for node, choice in zip(nodes, choices, strict=True)
    )


def _allowed(node: NodeGpus) -> list[Gpu]:
    """The node's GPUs that its cluster file allows. Raises _Problem if it names others."""
    if node.limit is None:
        return list(node.gpus)
    for entry in node.limit:
        if not any(_matches(gpu, entry) for gpu in node.gpus):
            has = _names(node.gpus) if node.gpus else "none"
            raise _Problem(f"the cluster file allows GPU {entry} of {node.name}, which has {has}")
    return [gpu for gpu in node.gpus if any(_matches(gpu, entry) for entry in node.limit)]


def _matches(gpu: Gpu, entry: str) -> bool:
    if entry.isdigit():
        return gpu.index == int(entry)
    names = (gpu.uuid, gpu.parent, gpu.mig_name)
    return entry == gpu.mig_name or any(name.startswith(entry) for name in names[:2] if name)


def _summary(node: NodeGpus, there: Sequence[Gpu]) -> str:
    """Count a node's GPUs by state: ``host2 has 4: 3 free, 1 used by pid 1234 (alice)``."""
    free = sum(gpu.free for gpu in there)
    others = Counter(_state(gpu) for gpu in there if not gpu.free)
    return f"{node.name} has {len(there)}: " + ", ".join(
        [f"{free} free"] + [f"{count} {state}" for state, count in others.items()]
    )


def _state(gpu: Gpu) -> str:
    return gpu.users or gpu.blocked or "free"


def _listing(gpus: Sequence[Gpu]) -> str:
    return ", ".join(f"{_name(gpu)} ({_state(gpu)})" for gpu in gpus)


def _name(gpu: Gpu) -> str:
    return f"MIG instance {gpu.uuid}" if gpu.parent and gpu.uuid else f"GPU {gpu.index}"


def _names(gpus: Sequence[Gpu]) -> str:
    numbers = fold(str(gpu.index) for gpu in gpus).strip("[]")
    return f"GPU{'s' if len(gpus) > 1 else ''} {numbers}"
