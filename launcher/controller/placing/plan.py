"""The plan of an attempt: which nodes and ranks, at first and again after nodes were lost.

It asks the agents and says what is wrong; the choices are pure, in placement.py and gpu_choice.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.controller.agents.fleet import Fleet
from launcher.controller.placing import placement, preflight
from launcher.controller.placing.gpu_leases import lease_again, place_with_gpus
from launcher.controller.placing.preflight import Facts
from launcher.core.console.console import Output
from launcher.core.errors import ClusterError
from launcher.core.job import Job, Node, Placement
from launcher.core.limits import too_few_files
from launcher.core.nodelist import fold, natural_key


@dataclass(frozen=True)
class Plan:
    """Where everything will run, before anything does."""

    places: tuple[Placement, ...]
    facts: dict[str, Facts]

    @property
    def world_size(self) -> int:
        """The number of ranks."""
        return sum(place.num_ranks for place in self.places)


def prepare(job: Job, nodes: Sequence[Node], fleet: Fleet, output: Output) -> Plan:
    """Wait for the agents, look at all nodes at once, and place the ranks."""
    output.detail(f"connecting to {', '.join(node.name for node in nodes)}")
    fleet.opened()
    facts = probe(nodes, fleet)
    output.detail(f"{len(facts)} nodes have answered")
    problems = [*fleet.problems, *preflight.problems(list(facts.values()), job.program)]
    bad = {error.node for error in problems}
    good = [node for node in nodes if node.name not in bad]
    if problems and (job.min_nodes == job.max_nodes or len(good) < (job.min_nodes or len(nodes))):
        raise ClusterError(problems)
    for error in problems:
        output.say(f"going on without {error}")
        fleet.drop(error.node, error.problem)
    told = not fleet.one_machine and os.path.exists(os.path.join(job.run_dir, "job.json"))
    for line in preflight.warnings([facts[node.name] for node in good], shared=told):
        output.say(line)
    places, notes = place_with_gpus(
        job,
        good,
        fleet,
        drivers=any(facts[node.name].driver for node in good),
        one_machine=fleet.one_machine,
    )
    few_files = too_few_files(len(places), sum(place.num_ranks for place in places))
    more = [
        *(few_cores(places, facts) if fleet.in_slurm else []),
        *([few_files] if few_files else []),
    ]
    for note in [*notes, *more]:
        output.say(note)
    return Plan(places, {node.name: facts[node.name] for node in good})


def few_cores(places: Sequence[Placement], facts: Mapping[str, Facts]) -> list[str]:
    """Where SLURM gave fewer cores than there are ranks: one a node, unless it was asked."""
    nodes: dict[tuple[int, int], list[str]] = {}
    for place in places:
        cores = facts[place.node.name].cores
        if cores < place.num_ranks:
            nodes.setdefault((cores, place.num_ranks), []).append(place.node.name)
    return [
        f"{fold(names)} has {cores} core{'s' if cores > 1 else ''} for {ranks} ranks: ask SLURM "
        f"for more, as in --cpus-per-task={ranks}"
        for (cores, ranks), names in nodes.items()
    ]


def probe(nodes: Sequence[Node], fleet: Fleet) -> dict[str, Facts]:
    """What every node says of itself, as far as it answered."""
    names = [node.name for node in nodes if node.name in fleet.links]
    answers = fleet.ask({name: {} for name in names}, ("probe", "found"))
    by_name = {node.name: node for node in nodes}
    return {
        name: preflight.gather(by_name[name], got["probe"], got["found"])
        for name, got in answers.items()
        if "probe" in got and "found" in got
    }


def revive(job: Job, plan: Plan, fleet: Fleet, output: Output) -> Plan | None:
    """The plan of the next attempt: other nodes, or the same ones again, for those that were lost.

    With ``--nodes MIN:MAX`` there may be fewer. None if there are not enough.
    """
    gone = [place.node for place in plan.places if place.node.name not in fleet.links]
    if not gone:
        return plan
    before = len(fleet.problems)
    try:
        fresh = fleet.open_instead(gone, len(gone))
        facts = probe(fresh, fleet)
        problems = preflight.problems(list(facts.values()), job.program)
    except ClusterError as error:
        fresh, facts, problems = [], {}, list(error.problems)
    for problem in problems:
        fleet.drop(problem.node, problem.problem)
    for problem in fleet.problems[before:]:
        output.error(f"can't go on with {problem}")
    fresh = [node for node in fresh if node.name in facts and node.name in fleet.links]
    kept = [place for place in plan.places if place.node.name in fleet.links]
    least = job.min_nodes or len(plan.places)
    if len(kept) + len(fresh) < least:
        output.error(f"{len(kept) + len(fresh)} of {least} nodes are left: too few to go on")
        return None
    return replan(job, plan, fresh, facts, fleet, output)


def replan(
    job: Job,
    plan: Plan,
    fresh: Sequence[Node],
    facts: Mapping[str, Facts],
    fleet: Fleet,
    output: Output,
) -> Plan:
    """Place the ranks anew on the nodes that are left and the fresh ones.

    A node that was there before has the GPUs that it had. Raises ClusterError.
    """
    gpus = {place.node.name: place.gpus for place in plan.places}
    former = [place.node for place in plan.places]
    new = [node for node in fresh if not any(node is one for one in former)]
    same = [node.name for node in fresh if any(node is one for one in former)]
    for name in lease_again({name: gpus[name] for name in same if gpus[name]}, fleet):
        output.say(f"{name}: its GPUs are leased by another run meanwhile, and used nevertheless")
    if new:
        drivers = any(facts[node.name].driver for node in new)
        places, notes = place_with_gpus(
            job, new, fleet, drivers=drivers, one_machine=fleet.one_machine
        )
        gpus |= {place.node.name: place.gpus for place in places}
        for note in notes:
            output.say(note)
    known = {place.node.name: place.node for place in plan.places}
    known |= {node.name: node for node in fresh}
    nodes = sorted(
        (node for node in known.values() if node.name in fleet.links),
        key=lambda node: natural_key(node.name),
    )
    share_all = job.gpus is None and not any(gpus.values())
    places = placement.place(nodes, gpus, job.procs, share_all=share_all)
    if [p.node.name for p in places] != [p.node.name for p in plan.places]:
        output.say(f"going on with {fold([node.name for node in nodes])}")
    return Plan(places, {**plan.facts, **facts})
