"""What one run has in a Ray cluster: a placement group, and in each of its bundles an actor.

Lives in the clerk's process (ray_clerk.py), the only one of ours that imports Ray.
"""

from __future__ import annotations

import socket
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import cloudpickle
from ray._private import state
from ray._private.services import canonicalize_bootstrap_address
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from launcher.clusters import ray_bundles, ray_holder
from launcher.clusters.ray_bundles import Ask, Bundle, RayNode
from launcher.nodelist import natural_key

CONNECT_S = 5.0  # to the head
LONG_JOIN_S = 8.0  # a second is usual
LOOK_AGAIN_S = 0.5  # for room on nodes
SAY_AFTER_S = 2.0  # that we are waiting
ACTOR_S = 60.0  # for Ray to start a process on a node
PING_S = 3.0  # for an actor to answer; one on a lost node never does

Tell = Callable[[Mapping[str, Any]], None]

cloudpickle.register_pickle_by_value(ray_holder)


class Problem(Exception):
    """The cluster is not as asked: rows of node, problem and advice."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        super().__init__(rows)
        self.rows = [list(row) for row in rows]


@dataclass(frozen=True)
class Held:
    """An actor that holds a bundle on a node; ``python`` is what runs there."""

    node: RayNode
    bundle: Bundle
    actor: Any
    python: str = ""


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
        _join(address, self._tell)
        wanted = Ask(**ask)
        found, problems = _started(self._claim(wanted, wait_s))
        if problems:
            raise Problem(problems)
        self._least = wanted.min_nodes or len(found)
        return {"nodes": self._keep(found), "address": ray.util.get_node_ip_address()}

    def visit(self, address: str) -> dict[str, Any]:
        """Join the cluster and hold all of its nodes, without claiming anything on them."""
        _join(address, self._tell)
        nothing = Bundle(0, 0)
        found, problems = _started(
            [Held(node, nothing, _actor(nothing, _on(node))) for node in self._nodes()]
        )
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
        same = _answering({name: self._held[name] for name in lost})
        missing = [self._held.pop(name) for name in lost if name not in same]
        can_spare = len(self._held) + len(missing) - self._least
        found: dict[str, Held] = {}
        self._gone |= {held.node.id for held in missing}
        for held in missing:
            ray.kill(held.actor)  # it may only have been cut off
        give_up = time.monotonic() + wait_s
        while missing:
            over = time.monotonic() > give_up or len(missing) <= can_spare
            pairs = self._spares(missing)
            if pairs and (over or len(pairs) == len(missing)):
                moved = [
                    Held(node, held.bundle, _actor(held.bundle, _on(node))) for held, node in pairs
                ]
                started, _ = _started(moved)
                self._keep(started)
                found |= {held.node.name: held for held in started}
                there = {held.node.id for held in started}
                self._gone |= {held.node.id for held in moved} - there
                settled = [held for held, node in pairs if node.id in there]
                missing = [held for held in missing if held not in settled]
            if over or not missing:
                break
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
            nodes = self._nodes()
            bundles = ray_bundles.choose(ask, nodes)
            if bundles != asked:  # nodes came or went
                if group is not None:
                    remove_placement_group(group)
                group, asked = _group(bundles) if bundles else None, bundles
            if group is None:
                time.sleep(LOOK_AGAIN_S)
            elif group.wait(1):
                self._groups.append(group)
                return _actors_in(group, asked, nodes)
            waited = time.monotonic() - began
            if waited >= wait_s:
                if group is not None:
                    remove_placement_group(group)
                raise _short(ask, self._nodes(), wait_s)
            if waited > SAY_AFTER_S and not said:
                said = True
                room = ray_bundles.shortage(ask, nodes)
                self._tell({"note": f"{room}; waiting for it up to {wait_s:g} s (--wait)"})

    def _nodes(self) -> list[RayNode]:
        """The nodes that Ray believes to be alive and that we don't know to be lost."""
        free = _free_resources()
        rows = [row for row in ray.nodes() if row["Alive"] and row["NodeID"] not in self._gone]
        names = Counter(row["NodeManagerHostname"] for row in rows)
        found = []
        for row in rows:
            name, has = row["NodeManagerHostname"], row["Resources"]
            left = free.get(row["NodeID"], {})
            if names[name] > 1:  # several raylets on one machine, or one that came back
                name = f"{name}-{row['NodeID'][:6]}"
            found.append(
                RayNode(
                    row["NodeID"],
                    name,
                    row["NodeManagerAddress"],
                    has.get("CPU", 0.0),
                    has.get("GPU", 0.0),
                    left.get("CPU", 0.0),
                    left.get("GPU", 0.0),
                )
            )
        return sorted(found, key=lambda node: natural_key(node.name))

    def _spares(self, missing: Sequence[Held]) -> list[tuple[Held, RayNode]]:
        """Nodes with room for what was lost, as far as there are any."""
        used = {held.node.id for held in self._held.values()}
        free = [node for node in self._nodes() if node.id not in used]
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
            code, errors = None, f"Ray ended its actor: {_one_line(error)}"
        self._tell({"ended": [name, number], "code": code, "errors": errors})


def _join(address: str, tell: Tell) -> None:
    """Connect to the cluster. Raises Problem."""
    note = {"note": f"Ray still looks for its node of {address} on this machine (for a minute)"}
    patience = threading.Timer(LONG_JOIN_S, tell, [note])
    patience.daemon = True
    patience.start()
    where = f"at {address}"
    try:
        if address == "auto":
            where = "on this machine"
            address = canonicalize_bootstrap_address(address)
            where = f"at {address}"
        host, _, port = address.rpartition(":")
        # Ray itself would try for a minute, and then end this process.
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        advice = "run plaunch on a machine of the cluster, or as: ray job submit -- plaunch ..."
        known = isinstance(error, ConnectionError) and where == "on this machine"
        reason = "" if known else f": {_one_line(error)}"
        raise Problem([["ray", f"no Ray cluster is running {where}{reason}", advice]]) from error
    finally:
        patience.cancel()


def _free_resources() -> dict[str, dict[str, float]]:
    """What nobody has claimed, by a node's id."""
    if hasattr(state, "available_resources_per_node"):
        return dict(state.available_resources_per_node())
    return dict(state.state._available_resources_per_node())  # Ray 2.9


def _short(ask: Ask, nodes: Sequence[RayNode], wait_s: float) -> Problem:
    problem = f"{ray_bundles.shortage(ask, nodes)} after {wait_s:g} s"
    rows = [["ray", problem, "ask for less, or wait longer: --wait SECONDS"]]
    rows += [[node.name, f"has {ray_bundles.description(node)}", ""] for node in nodes]
    return Problem(rows)


def _group(bundles: Sequence[Bundle]) -> Any:
    return placement_group([bundle.resources for bundle in bundles], strategy="STRICT_SPREAD")


def _actors_in(group: Any, bundles: Sequence[Bundle], nodes: Sequence[RayNode]) -> list[Held]:
    """An actor in each bundle of a group that is there. Raises Problem."""
    by_id = {node.id: node for node in nodes}
    places = placement_group_table(group)["bundles_to_node_id"]
    strangers = [node_id for node_id in places.values() if node_id not in by_id]
    if strangers:
        raise Problem([["ray", "the cluster's nodes are changing; try again", ""]])
    found = []
    for index, bundle in enumerate(bundles):
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        found.append(Held(by_id[places[index]], bundle, _actor(bundle, place)))
    return found


def _actor(bundle: Bundle, place: Any) -> Any:
    """An actor that has all of a bundle. It ends with us, and is never started again."""
    actor = ray.remote(ray_holder.Holder).options(
        num_cpus=bundle.cpus,
        num_gpus=bundle.gpus,
        max_restarts=0,
        max_concurrency=4,
        scheduling_strategy=place,
    )
    return actor.remote(bundle != Bundle(0, 0))


def _on(node: RayNode) -> Any:
    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def _started(actors: Sequence[Held]) -> tuple[list[Held], list[list[str]]]:
    """Those whose process has come up, and rows of problems for the others."""
    asked = [held.actor.look.remote() for held in actors]
    if asked:
        ray.wait(asked, num_returns=len(asked), timeout=ACTOR_S)
    found, problems = [], []
    for held, answer in zip(actors, asked, strict=True):
        try:
            found.append(replace(held, python=ray.get(answer, timeout=0)["python"]))
        except Exception as error:
            late = isinstance(error, ray.exceptions.GetTimeoutError)
            reason = f"none within {ACTOR_S:.0f} s" if late else _one_line(error)
            advice = "see: ray status; a node that crashed is on Ray's list for another minute"
            problems.append([held.node.name, f"Ray starts no process on it: {reason}", advice])
            ray.kill(held.actor)
    return found, problems


def _answering(held: Mapping[str, Held]) -> dict[str, Held]:
    """Those whose actor still answers."""
    asked = {name: one.actor.look.remote() for name, one in held.items()}
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=PING_S)
    found = {}
    for name, answer in asked.items():
        try:
            ray.get(answer, timeout=0)
            found[name] = held[name]
        except Exception:  # whatever is wrong with it, it is of no use
            continue
    return found


def _described(held: Mapping[str, Held]) -> list[dict[str, str]]:
    return [
        {"name": name, "address": one.node.address, "python": one.python}
        for name, one in held.items()
    ]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
