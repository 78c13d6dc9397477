"""Whether the nodes reach each other, before a run that would need it: `plaunch doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.controller.agents.fleet import Fleet
from launcher.controller.placing.preflight import Facts, master_addresses
from launcher.core.errors import NodeError

if TYPE_CHECKING:
    from launcher.core.protocol.messages import Listen, Reach


def reachability(all_facts: Sequence[Facts], fleet: Fleet) -> list[NodeError]:
    """Whether every node reaches the first one, by the address that a run would use."""
    if len(all_facts) < 2:
        return []
    first, others = all_facts[0], all_facts[1:]
    failures: list[NodeError] = []
    for address in master_addresses(first, len(all_facts)):
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
