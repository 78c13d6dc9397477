"""GPUs for a job: asks the agents what there is, and has them lease what gpu_choice.py chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.controller.agents.bundle import pynvml_source
from launcher.controller.agents.fleet import Fleet
from launcher.controller.placing.placement import place
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Job, Node, Placement

if TYPE_CHECKING:
    from launcher.controller.placing.gpu_choice import Choice, NodeGpus
    from launcher.core.protocol import messages

TRIES = 5  # another run may lease a GPU after ours has seen it free

Chosen = tuple[tuple[Placement, ...], list[str]]


def place_with_gpus(
    job: Job, nodes: Sequence[Node], fleet: Fleet, *, drivers: bool, one_machine: bool
) -> Chosen:
    """Placements with GPUs, and lines for a person.

    ``drivers``: some node has a GPU driver. ``one_machine``: the nodes are parts of one machine.
    Raises ClusterError with the numbers if there are fewer GPUs than asked for.
    """
    only_procs = job.gpus is None and job.procs is not None
    if job.gpus == "0" or only_procs or (job.gpus is None and not drivers):
        return place(nodes, {}, job.procs, share_all=True), []
    from launcher.controller.placing.gpu_choice import choose_all
    from launcher.core.gpu_spec import parse

    request = parse(job.gpus)
    for _ in range(TRIES):
        seen = inspect_gpus(nodes, fleet)
        choices = choose_all(request, seen, one_machine=one_machine)
        problems = [
            NodeError(node.name, choice.problem)
            for node, choice in zip(nodes, choices, strict=True)
            if choice.problem
        ]
        if problems:
            raise ClusterError(problems)
        if lease(nodes, choices, fleet):
            break
    else:
        raise ClusterError([NodeError(nodes[0].name, "other runs lease GPUs as fast as we look")])
    notes = list(dict.fromkeys(note for choice in choices for note in choice.notes))
    gpus = {node.name: choice.gpus for node, choice in zip(nodes, choices, strict=True)}
    return place(nodes, gpus, job.procs, share_all=False), notes


def inspect_gpus(nodes: Sequence[Node], fleet: Fleet) -> list[NodeGpus]:
    """The GPUs of every node, as its agent sees them."""
    from launcher.controller.placing.gpu_choice import node_gpus

    order: messages.AskGpus = {"type": "gpus", "sources": pynvml_source()}
    answers = fleet.ask({node.name: order for node in nodes}, ["gpus"])
    silent = [NodeError(n.name, "it did not tell its GPUs") for n in nodes if not answers[n.name]]
    if silent:
        raise ClusterError(silent)
    return [node_gpus(n.name, answers[n.name]["gpus"], n.gpus) for n in nodes]


def lease(nodes: Sequence[Node], choices: Sequence[Choice], fleet: Fleet) -> bool:
    """Lease what was chosen; False if another run was quicker and a choice must be made anew."""
    wanted: Mapping[str, Choice] = {
        node.name: choice for node, choice in zip(nodes, choices, strict=True) if choice.gpus
    }
    orders: dict[str, messages.AskLease] = {
        name: {"type": "lease", "uuids": list(choice.gpus)} for name, choice in wanted.items()
    }
    answers = fleet.ask(orders, ["leased"])
    return not any(
        choice.must_lease and answers[name].get("leased", {"refused": ["?"]})["refused"]
        for name, choice in wanted.items()
    )


def lease_again(gpus: Mapping[str, Sequence[str]], fleet: Fleet) -> list[str]:
    """Lease the GPUs that nodes had before their agents were lost; the nodes where it can't be."""
    orders: dict[str, messages.AskLease] = {
        name: {"type": "lease", "uuids": list(uuids)} for name, uuids in gpus.items()
    }
    answers = fleet.ask(orders, ["leased"])
    return [name for name, got in answers.items() if got.get("leased", {}).get("refused")]
