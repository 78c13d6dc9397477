"""What one run has in a Ray cluster: a placement group, and in each of its bundles an actor.

Lives in the clerk's process (ray_clerk.py), the only one of ours that imports Ray.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from launcher.clusters.ray import actors as ray_actors
from launcher.clusters.ray import bundles as ray_bundles
from launcher.clusters.ray.actors import Held
from launcher.clusters.ray.bundles import Ask, Bundle, RayNode
from launcher.clusters.ray.connection import Problem, Tell, join, living_nodes, one_line
from launcher.core.nodelist import fold

LOOK_AGAIN_S = 0.5  # for room on nodes
SAY_AFTER_S = 2.0  # that we are waiting
ACTOR_S = 60.0  # for Ray to start a process on a node: it may have to install things for it
VISIT_S = 20.0  # the same, only to look at it


class Claims:
    """The launcher's orders. Each returns data that JSON can hold, or raises Problem.

    A bundle that was lost stays part of its placement group, and Ray may find room for it a minute
    later, when it has noticed as well: then a bundle is claimed in vain until the run's end.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._held: dict[str, Held] = {}
        self._least = 0  # nodes that the run can't do without
        self._groups: list[Any] = []
        self._gone: set[str] = set()  # ids of nodes that were lost, whatever Ray believes

    def acquire(self, address: str, ask: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
        """Join the cluster and hold as many nodes as asked for, after ``wait_s`` at most."""
        join(address, self._tell)
        wanted = Ask(**ask)
        found, problems = ray_actors.started(self._claim(wanted, wait_s), ACTOR_S, self._tell)
        if problems:
            raise Problem(problems)
        self._least = wanted.min_nodes or len(found)
        return {"nodes": self._keep(found), "address": ray.util.get_node_ip_address()}

    def visit(self, address: str) -> dict[str, Any]:
        """Join the cluster and hold all of its nodes, without claiming anything on them."""
        join(address, self._tell)
        nothing = Bundle(0, 0)
        actors = [ray_actors.on_node(node, nothing) for node in living_nodes(self._gone)]
        found, problems = ray_actors.started(actors, VISIT_S, self._tell)
        for name, problem, _ in problems:
            self._tell({"note": f"{name}: {problem}"})
        if not found:
            raise Problem(problems or [["ray", "the Ray cluster has no nodes", ""]])
        return {"nodes": self._keep(found), "address": ray.util.get_node_ip_address()}

    def start(
        self, number: int, argv: Mapping[str, Sequence[str]], lines: Mapping[str, str]
    ) -> dict[str, Any]:
        """Start an agent on each of these nodes and give it its line; its end will be told."""
        for name, line in lines.items():
            end = self._held[name].actor.run.remote(list(argv[name]), line.encode())
            threading.Thread(target=self._watch, args=(name, number, end), daemon=True).start()
        return {}

    def replace(self, lost: Sequence[str], wait_s: float) -> dict[str, Any]:
        """Nodes for those whose agents were lost: the same ones if they answer, or others.

        Waits for others at most ``wait_s``, if without them there are fewer than asked for.
        """
        same = ray_actors.answering({name: self._held[name] for name in lost})
        missing = [self._held.pop(name) for name in lost if name not in same]
        can_spare = len(self._held) + len(missing) - self._least
        found: dict[str, Held] = {}
        self._gone |= {held.node.id for held in missing}
        for held in missing:
            ray.kill(held.actor)  # it may only have been cut off
        began, said = time.monotonic(), False
        while missing:
            waited = time.monotonic() - began
            over = waited > wait_s or len(missing) <= can_spare
            pairs = self._spares(missing)
            if pairs and (over or len(pairs) == len(missing)):
                moved = [ray_actors.on_node(node, held.bundle) for held, node in pairs]
                started, _ = ray_actors.started(moved, ACTOR_S, self._tell)
                self._keep(started)
                found |= {held.node.name: held for held in started}
                there = {held.node.id for held in started}
                self._gone |= {held.node.id for held in moved} - there
                settled = [held for held, node in pairs if node.id in there]
                missing = [held for held in missing if held not in settled]
            if over or not missing:
                break
            if waited > SAY_AFTER_S and not said:
                said = True
                names = fold([held.node.name for held in missing])
                self._tell({"note": f"waiting for nodes instead of {names}, up to {wait_s:g} s"})
            time.sleep(LOOK_AGAIN_S)
        return {"same": list(same), "nodes": _described(found)}

    def release(self) -> dict[str, Any]:
        """Give everything back; an agent that is still there is killed."""
        for held in self._held.values():
            ray.kill(held.actor)
        for group in self._groups:
            remove_placement_group(group)
        ray.shutdown()
        return {}

    # -- inside

    def _claim(self, ask: Ask, wait_s: float) -> list[Held]:
        """A placement group with a bundle a node, and an actor in each. Raises Problem."""
        began, said = time.monotonic(), False
        group: Any = None
        asked: tuple[Bundle, ...] = ()
        while True:
            nodes = living_nodes(self._gone)
            bundles = ray_bundles.choose(ask, nodes)
            if bundles != asked:  # nodes came or went
                if group is not None:
                    remove_placement_group(group)
                group, asked = _group(bundles) if bundles else None, bundles
            if group is None:
                time.sleep(LOOK_AGAIN_S)
            elif group.wait(1):
                self._groups.append(group)
                return ray_actors.in_group(group, asked, living_nodes(self._gone))
            waited = time.monotonic() - began
            if waited >= wait_s:
                if group is not None:
                    remove_placement_group(group)
                raise _short(ask, living_nodes(self._gone), wait_s)
            if waited > SAY_AFTER_S and not said:
                said = True
                room = ray_bundles.shortage(ask, nodes)
                self._tell({"note": f"{room}; waiting for it up to {wait_s:g} s (--wait)"})

    def _spares(self, missing: Sequence[Held]) -> list[tuple[Held, RayNode]]:
        """Nodes with room for what was lost, as far as there are any."""
        used = {held.node.id for held in self._held.values()}
        free = [node for node in living_nodes(self._gone) if node.id not in used]
        pairs = []
        for held in missing:
            node = next((node for node in free if held.bundle.fits(node)), None)
            if node is not None:
                free.remove(node)
                pairs.append((held, node))
        return pairs

    def _keep(self, found: Iterable[Held]) -> list[dict[str, str]]:
        """Remember what we hold; returns it as data."""
        by_name = {held.node.name: held for held in found}
        self._held |= by_name
        return _described(by_name)

    def _watch(self, name: str, number: int, end: Any) -> None:
        try:
            code, errors = ray.get(end)
        except Exception as error:
            code, errors = None, f"Ray ended its actor: {one_line(error)}"
        self._tell({"ended": [name, number], "code": code, "errors": errors})


def _short(ask: Ask, nodes: Sequence[RayNode], wait_s: float) -> Problem:
    problem = f"{ray_bundles.shortage(ask, nodes)} after {wait_s:g} s"
    rows = [["ray", problem, "ask for less, or wait longer: --wait SECONDS"]]
    rows += [[node.name, f"has {ray_bundles.description(node)}", ""] for node in nodes]
    return Problem(rows)


def _group(bundles: Sequence[Bundle]) -> Any:
    return placement_group([bundle.resources for bundle in bundles], strategy="STRICT_SPREAD")


def _described(held: Mapping[str, Held]) -> list[dict[str, str]]:
    return [
        {"name": name, "address": one.node.address, "python": one.python}
        for name, one in held.items()
    ]
