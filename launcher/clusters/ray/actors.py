"""Actors of a Ray cluster, in the clerk's process: each holds a bundle on a node for us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import cloudpickle
from ray.util.placement_group import placement_group_table
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

from launcher.clusters.ray import actor as ray_holder
from launcher.clusters.ray.bundles import Bundle, RayNode
from launcher.clusters.ray.connection import Problem, Tell, one_line
from launcher.core.nodelist import fold

SAY_AFTER_S = 5.0  # that a process is still being started
PING_S = 3.0  # for an actor to answer; one on a lost node never does

cloudpickle.register_pickle_by_value(ray_holder)


@dataclass(frozen=True)
class Held:
    """An actor that holds a bundle on a node; ``python`` is what runs there."""

    node: RayNode
    bundle: Bundle
    actor: Any
    python: str = ""


def in_group(group: Any, bundles: Sequence[Bundle], nodes: Sequence[RayNode]) -> list[Held]:
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


def on_node(node: RayNode, bundle: Bundle) -> Held:
    """An actor with a bundle on this very node."""
    return Held(node, bundle, _actor(bundle, NodeAffinitySchedulingStrategy(node.id, soft=False)))


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


def started(
    actors: Sequence[Held], timeout_s: float, tell: Tell
) -> tuple[list[Held], list[list[str]]]:
    """Those whose process has come up in time, and rows of problems for the others."""
    asked = [held.actor.look.remote() for held in actors]
    _, late = _wait(asked, min(SAY_AFTER_S, timeout_s))
    if late:
        names = [
            held.node.name for held, answer in zip(actors, asked, strict=True) if answer in late
        ]
        tell({"note": f"waiting for Ray to start a process on {fold(names)}"})
        _wait(asked, timeout_s - SAY_AFTER_S)
    found, problems = [], []
    for held, answer in zip(actors, asked, strict=True):
        try:
            found.append(replace(held, python=ray.get(answer, timeout=0)["python"]))
        except Exception as error:
            is_late = isinstance(error, ray.exceptions.GetTimeoutError)
            reason = f"none within {timeout_s:.0f} s" if is_late else one_line(error)
            advice = "see: ray status; a node that crashed is on Ray's list for another minute"
            problems.append([held.node.name, f"Ray starts no process on it: {reason}", advice])
            ray.kill(held.actor)
    return found, problems


def answering(held: Mapping[str, Held]) -> dict[str, Held]:
    """Those whose actor still answers."""
    asked = {name: one.actor.look.remote() for name, one in held.items()}
    _wait(list(asked.values()), PING_S)
    found = {}
    for name, answer in asked.items():
        try:
            ray.get(answer, timeout=0)
            found[name] = held[name]
        except Exception:  # whatever is wrong with it, it is of no use
            continue
    return found


def _wait(answers: Sequence[Any], timeout_s: float) -> tuple[list[Any], list[Any]]:
    """Wait for all of these; those that are there, and those that aren't."""
    if not answers:
        return [], []
    there, late = ray.wait(list(answers), num_returns=len(answers), timeout=max(0, timeout_s))
    return there, late
