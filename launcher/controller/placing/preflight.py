"""What nodes have sent of themselves, and every problem in it, before anything starts. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.core.errors import NodeError
from launcher.core.job import Node, Program
from launcher.core.nodelist import fold

CLOCK_SKEW_S = 5.0
LITTLE_DISK = 100 << 20
OLD_COPY = "an old copy? Copy it there anew, or work in a folder that all hosts share"


@dataclass(frozen=True)
class Facts:
    """A node as its agent found it. ``driver``: it has a GPU driver."""

    node: Node
    cores: int
    addresses: Mapping[str, Sequence[str]]
    reached_at: Sequence[str]
    python: str | None
    torch: str | None
    free_disk: int | None
    clock_skew_s: float
    clock_uncertainty_s: float
    shared: bool
    user: str
    start_problem: str | None = None
    workdir_there: bool = True
    program_problem: str | None = None
    driver: bool = False
    no_engine: str | None = None
    differs: Sequence[str] = ()
    main: str | None = None


def gather(node: Node, probe: Mapping[str, Any], found: Mapping[str, Any]) -> Facts:
    """Facts from an agent's two first messages.

    Its clock is compared with ours at the middle of the time in which it told it, so it is known
    to half of that time: how long the login or other nodes have taken does not matter.
    """
    asked, heard = probe["asked_at"], probe["heard_at"]
    return Facts(
        node=node,
        cores=probe["cores"],
        addresses=probe["addresses"],
        reached_at=probe["reached_at"],
        python=found.get("python"),
        torch=found.get("torch"),
        free_disk=probe["free_disk"],
        clock_skew_s=probe["time"] - (asked + heard) / 2,
        clock_uncertainty_s=max(heard - asked, 0.0) / 2,
        shared=probe["shared"],
        user=probe["user"],
        start_problem=found.get("problem"),
        workdir_there=probe["workdir"],
        program_problem=probe["program"],
        driver=probe["driver"],
        no_engine=found.get("no_engine"),
        differs=probe["differs"],
        main=probe["main"],
    )


def problems(all_facts: Sequence[Facts], program: Program) -> list[NodeError]:
    """Everything that keeps the run from starting, node by node, each with what to do."""
    found = [error for facts in all_facts for error in _of_one(facts, program)]
    found += _other_copies(all_facts, program)
    return found + _differences(all_facts) if program.kind != "program" else found


def _of_one(facts: Facts, program: Program) -> list[NodeError]:
    name, found = facts.node.name, []
    if facts.start_problem:
        advice = "set `python:` in the cluster file to an interpreter that is there"
        found.append(NodeError(name, f"python can't start: {facts.start_problem}", advice))
    elif facts.torch is None and program.kind != "program":
        advice = f"on the node: {facts.node.python} -m pip install torch"
        found.append(NodeError(name, f"no torch for {facts.node.python}", advice))
    elif program.compat is not None and facts.no_engine:
        advice = f"rename that file, or on the node: {facts.node.python} -m pip install plaunch"
        problem = f"--compat {program.compat} needs the package 'engine', which {facts.no_engine}"
        found.append(NodeError(name, problem, advice))
    if not facts.workdir_there:
        advice = "make it there, share it, or set `workdir:` in the cluster file"
        found.append(NodeError(name, f"no folder {facts.node.workdir}", advice))
    elif facts.program_problem:
        advice = "check the path; it is relative to the working folder on the node"
        found.append(NodeError(name, facts.program_problem, advice))
    elif facts.differs:
        which = ", ".join(facts.differs)
        found.append(NodeError(name, f"{which} there is not the one here", OLD_COPY))
    return found


def _other_copies(all_facts: Sequence[Facts], program: Program) -> list[NodeError]:
    """Nodes whose copy of the program is not the one that most nodes have."""
    copies = Counter(facts.main for facts in all_facts if facts.main)
    if len(copies) < 2:
        return []
    usual = copies.most_common(1)[0][0]
    problem = f"{program.target} there is not the one that most nodes have"
    return [
        NodeError(facts.node.name, problem, OLD_COPY)
        for facts in all_facts
        if facts.main and facts.main != usual
    ]


def _differences(all_facts: Sequence[Facts]) -> list[NodeError]:
    """Nodes whose torch or python differs from what most nodes have."""
    found = []
    for what in ("torch", "python"):
        versions = [(facts, _version(what, facts)) for facts in all_facts]
        known = Counter(version for _, version in versions if version)
        if len(known) < 2:
            continue
        usual = known.most_common(1)[0][0]
        advice = f"install the same {what} on every node, or set `python:` in the cluster file"
        for facts, version in versions:
            if version and version != usual:
                problem = f"{what} {version}, but most nodes have {usual}"
                found.append(NodeError(facts.node.name, problem, advice))
    return found


def _version(what: str, facts: Facts) -> str | None:
    if what == "torch":
        return facts.torch
    return ".".join(facts.python.split(".")[:2]) if facts.python else None


def warnings(all_facts: Sequence[Facts], *, shared: bool) -> list[str]:
    """What does not keep the run from starting, but a person should know.

    ``shared``: look at whether the run folder is shared, too.
    """
    found = []
    for facts in all_facts:
        if abs(facts.clock_skew_s) - facts.clock_uncertainty_s > CLOCK_SKEW_S:
            found.append(f"{facts.node.name}: its clock is {facts.clock_skew_s:+.0f} s off ours")
        if facts.free_disk is not None and facts.free_disk < LITTLE_DISK:
            free = facts.free_disk >> 20
            found.append(f"{facts.node.name}: only {free} MiB free in {facts.node.workdir}")
    apart = [facts.node.name for facts in all_facts if shared and not facts.shared]
    if apart:
        found.append(
            f"the run folder is not shared with {fold(apart)}: what ranks write there stays there"
        )
    return found


def master_addresses(facts: Facts, num_nodes: int) -> list[str]:
    """Addresses of the first node by which the others may reach it, best first."""
    if num_nodes == 1 or facts.node.address == "127.0.0.1":
        return ["127.0.0.1"]
    known = [
        address
        for name, addresses in facts.addresses.items()
        if not name.startswith(("lo", "docker", "virbr", "veth", "br-", "cni"))
        for address in addresses
    ]
    seen = [address for address in facts.reached_at if address in known]
    return list(dict.fromkeys([*seen, *known]))
