"""Looking without running: ``plaunch nodes``, ``plaunch doctor`` and ``--dry-run``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from launcher.clusters.base import ClusterError, NodeError
from launcher.controller import rendezvous
from launcher.controller.agents.bundle import pynvml_source
from launcher.controller.agents.fleet import Fleet, Interrupted, signals_into
from launcher.controller.agents.link import Inbox
from launcher.controller.placing import preflight
from launcher.controller.placing.placement import wanted_nodes
from launcher.controller.placing.plan import prepare, probe
from launcher.controller.placing.preflight import Facts
from launcher.core.console.console import Output, problem_lines, ranks_in_words, table
from launcher.core.console.terminal import paragraph
from launcher.core.job import Job, Program
from launcher.core.limits import more_open_files
from launcher.request.request import Wanted, find_cluster, make_job
from launcher.rundir.rundir import RunDir

if TYPE_CHECKING:
    from launcher.core.protocol.messages import AskGpus, Listen, Reach

NOT_AS_ASKED = 3


@contextlib.contextmanager
def agents(job: Job, wanted: Wanted, output: Output) -> Iterator[Fleet]:
    """The cluster with its agents for a while; nothing of the user's is started."""
    inbox = Inbox()
    fleet = Fleet(job, find_cluster(wanted, output), inbox, output)
    with more_open_files(), signals_into(inbox):
        try:
            yield fleet
        finally:
            fleet.close()


def look(word: str, wanted: Wanted, output: Output, *, as_json: bool) -> int:
    """Print what the nodes have (``nodes``) or what is wrong with them (``doctor``).

    Exit code 0, or 3 if a node can't be used.
    """
    program = Program("module", "this")  # any program: only the nodes matter
    # nothing is ever written to its run folder, which is not even made
    job = make_job(Wanted(nodes=wanted.nodes, start="cold"), program)
    with agents(job, replace(wanted, visit=True), output) as fleet:
        try:
            nodes = fleet.nodes()
            fleet.begin(nodes)
            fleet.opened()
            facts = probe(nodes, fleet)
            order: AskGpus = {"type": "gpus", "sources": pynvml_source()}
            gpus = fleet.ask(dict.fromkeys(facts, order), ["gpus"])
            paths = reachability(list(facts.values()), fleet)
        except Interrupted as interruption:
            return 128 + interruption.number
        except ClusterError as error:
            output.block(problem_lines(error.problems, "the nodes can't be looked at"))
            return NOT_AS_ASKED
        problems = [*fleet.problems, *preflight.problems(list(facts.values()), program), *paths]
    found = {name: got["gpus"] for name, got in gpus.items() if "gpus" in got}
    if as_json:
        output.stdout(json.dumps(as_data(nodes, facts, found, problems), indent=1) + "\n")
    elif word == "nodes":
        output.stdout("\n".join(node_table(facts, found)) + "\n")
        if problems:
            output.block(problem_lines(problems, "some nodes can't be used"))
    else:
        output.stdout("\n".join(doctor_lines(facts, found, problems)) + "\n")
    return NOT_AS_ASKED if problems else 0


def reachability(all_facts: Sequence[Facts], fleet: Fleet) -> list[NodeError]:
    """Whether every node reaches the first one, by the address that a run would use."""
    if len(all_facts) < 2:
        return []
    first, others = all_facts[0], all_facts[1:]
    failures: list[NodeError] = []
    for address in preflight.master_addresses(first, len(all_facts)):
        name = first.node.name
        listen: Listen = {"type": "listen", "address": address}
        answer = fleet.ask({name: listen}, ["listening"])[name]
        port = answer.get("listening", {}).get("port")
        if port is None:
            failures.append(NodeError(name, f"can't listen on {address}"))
            continue
        order: Reach = {"type": "reach", "address": address, "port": port, "word": None}
        reached = fleet.ask({facts.node.name: order for facts in others}, ["reached"])
        bad = {
            node: got.get("reached", {"problem": "no answer"})["problem"]
            for node, got in reached.items()
        }
        if not any(bad.values()):
            return []
        failures += [
            NodeError(node, f"can't reach {name} at {address}: {problem}", "check the firewall")
            for node, problem in bad.items()
            if problem
        ]
    return failures


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


def gpu_words(found: dict[str, Any] | None) -> str:
    """``4 free of 8``, or 0."""
    all_gpus = (found or {}).get("gpus", [])
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


def show_plan(wanted: Wanted, program: Program, output: Output) -> int:
    """``--dry-run``: where every rank would run, and what it would be told.

    Raises ClusterError, RunDirError.
    """
    job = make_job(wanted, program)
    rundir = RunDir(job)
    rundir.check()
    goes_on = " (it goes on from what is there)" if rundir.is_resumed() else ""
    with agents(job, wanted, output) as fleet:
        try:
            nodes = wanted_nodes(job, fleet.nodes())
            fleet.begin(nodes)
            plan = prepare(job, nodes, fleet, output)
        except Interrupted as interruption:
            return 128 + interruption.number
    meeting = rendezvous.Rendezvous(
        "<first node>", 0, 1, plan.world_size, len(plan.places), job.id, job.run_dir,
        job.max_restarts,
    )  # fmt: skip
    words = [program.target, *program.args]
    lines = [
        f"would run {program.kind}: {' '.join(map(repr, words))}",
        *([] if program.compat is None else [f"with the engine for {program.compat}"]),
        f"run folder: {job.run_dir}{goes_on}",
    ]
    rows = [("NODE", "RANKS", "GPUS", "PYTHON", "FOLDER")]
    for place in plan.places:
        ranks = range(place.first_rank, place.first_rank + place.num_ranks)
        node = place.node
        gpus = ",".join(place.gpus) or "none"
        rows.append((node.name, ranks_in_words(ranks), gpus, node.python, node.workdir))
    names = sorted({*rendezvous.rank_env(meeting, plan.places[0], 0), *rendezvous.NODE_NAMES})
    lines += table(rows, indent="")
    lines.append(f"each rank gets: {' '.join(names)}")
    if job.env:
        lines.append(f"and from --env: {' '.join(sorted(job.env))}")
    output.stdout("\n".join(lines) + "\n")
    return 0
