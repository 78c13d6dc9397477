"""``plaunch nodes`` and ``plaunch doctor``: what the nodes have, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from launcher.controller.agents.bundle import pynvml_source
from launcher.controller.agents.fleet import Interrupted
from launcher.controller.placing import preflight
from launcher.controller.placing.plan import probe
from launcher.controller.placing.preflight import Facts
from launcher.controller.placing.reachability import reachability
from launcher.controller.run import agents
from launcher.core.console.console import Output, problem_lines, table
from launcher.core.console.terminal import paragraph
from launcher.core.errors import ClusterError, NodeError
from launcher.core.exit_codes import NOT_AS_ASKED, by_signal
from launcher.core.job import Program, RunOptions
from launcher.request.make_cluster import make_cluster
from launcher.request.request import find, make_job

if TYPE_CHECKING:
    from launcher.core.protocol.messages import AskGpus


def inspect_nodes(word: str, options: RunOptions, output: Output, *, as_json: bool) -> int:
    """Print what the nodes have (``nodes``) or what is wrong with them (``doctor``).

    Exit code 0, or 3 if a node can't be used.
    """
    program = Program("module", "this")  # any program: only the nodes matter
    # nothing is ever written to its run folder, which is not even made
    job = make_job(RunOptions(nodes=options.nodes, start="cold"), program)
    cluster = make_cluster(options, find(options), output, claim=False)
    with agents(job, cluster, output) as fleet:
        try:
            nodes = fleet.nodes()
            fleet.begin(nodes)
            fleet.opened()
            facts = probe(nodes, fleet)
            order: AskGpus = {"type": "gpus", "sources": pynvml_source()}
            gpus = fleet.ask(dict.fromkeys(facts, order), ["gpus"])
            paths = reachability(list(facts.values()), fleet)
        except Interrupted as interruption:
            return by_signal(interruption.number)
        except ClusterError as error:
            output.block(problem_lines(error.problems, "the nodes can't be looked at"))
            return NOT_AS_ASKED
        problems = [*fleet.problems, *preflight.problems(list(facts.values()), program), *paths]
    boards = {name: got["gpus"] for name, got in gpus.items() if "gpus" in got}
    if as_json:
        output.stdout(json.dumps(as_data(nodes, facts, boards, problems), indent=1) + "\n")
    elif word == "nodes":
        output.stdout("\n".join(node_table(facts, boards)) + "\n")
        if problems:
            output.block(problem_lines(problems, "some nodes can't be used"))
    else:
        output.stdout("\n".join(doctor_lines(facts, boards, problems)) + "\n")
    return NOT_AS_ASKED if problems else 0


def node_table(facts: dict[str, Facts], gpus: dict[str, Any]) -> list[str]:
    """One row a node."""
    rows = [("NODE", "ADDRESS", "CORES", "GPUS", "PYTHON", "TORCH", "FREE DISK")]
    for name, fact in facts.items():
        disk = "?" if fact.free_disk is None else f"{fact.free_disk / 2**30:.1f} GiB"
        rows.append(
            (
                name,
                fact.node.address,
                str(fact.cores),
                gpu_words(gpus.get(name)),
                fact.python or "none",
                fact.torch or "none",
                disk,
            )
        )
    return table(rows, indent="")


def gpu_words(answer: dict[str, Any] | None) -> str:
    """``4 free of 8``, or 0."""
    all_gpus = (answer or {}).get("gpus", [])
    if not all_gpus:
        return "0"
    from launcher.controller.placing.gpus import from_json

    free = sum(gpu.free for gpu in from_json(all_gpus))
    return f"{free} free of {len(all_gpus)}"


def doctor_lines(
    facts: dict[str, Facts], gpus: dict[str, Any], problems: Sequence[NodeError]
) -> list[str]:
    """What was checked, and what is wrong."""
    lines = node_table(facts, gpus)
    notes = preflight.warnings(list(facts.values()), shared=False)
    lines += [f"note: {paragraph(note)}" for note in notes]
    if problems:
        return [*lines, *problem_lines(problems, "some nodes can't be used")]
    checked = "login, python, torch, versions, clocks, disk, and the way to the first node"
    who = "the node" if len(facts) == 1 else f"all {len(facts)} nodes"
    return [*lines, f"{who} can be used ({checked})"]


def as_data(
    nodes: Sequence[Any],
    facts: dict[str, Facts],
    gpus: dict[str, Any],
    problems: Sequence[NodeError],
) -> dict[str, Any]:
    """The same as JSON data."""
    rows = []
    for node in nodes:
        fact = facts.get(node.name)
        row: dict[str, Any] = {"name": node.name, "address": node.address, "usable": True}
        row["usable"] = node.name not in {error.node for error in problems}
        if fact is not None:
            row |= {
                "cores": fact.cores,
                "python": fact.python,
                "torch": fact.torch,
                "free_disk": fact.free_disk,
                "clock_skew_s": round(fact.clock_skew_s, 3),
                "user": fact.user,
                "gpus": (gpus.get(node.name) or {}).get("gpus", []),
            }
        rows.append(row)
    wrong = [
        {"node": error.node, "problem": error.problem, "advice": error.advice} for error in problems
    ]
    return {"nodes": rows, "problems": wrong}
