"""Being part of a Ray cluster, in the clerk's process: joining it, and seeing its nodes."""

from __future__ import annotations

import socket
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import ray
from ray._private import state
from ray._private.services import canonicalize_bootstrap_address

from launcher.clusters.ray.bundles import RayNode
from launcher.core.nodelist import natural_key

CONNECT_S = 5.0  # to the head
LONG_JOIN_S = 8.0  # a second is usual

Tell = Callable[[Mapping[str, Any]], None]


class Problem(Exception):
    """The cluster is not as asked: rows of node, problem and advice."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        super().__init__(rows)
        self.rows = [list(row) for row in rows]


def join(address: str, tell: Tell) -> None:
    """Connect to the cluster. Raises Problem."""
    which = "a node of a Ray cluster" if address == "auto" else f"the node of {address}"
    note = {"note": f"Ray is still looking for {which} on this machine (for up to a minute)"}
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
        reason = "" if known else f": {one_line(error)}"
        raise Problem([["ray", f"no Ray cluster is running {where}{reason}", advice]]) from error
    finally:
        patience.cancel()


def living_nodes(gone: Collection[str]) -> list[RayNode]:
    """The nodes that Ray believes to be alive, but for those whose ids are in ``gone``."""
    free = _free_resources()
    rows = [row for row in ray.nodes() if row["Alive"] and row["NodeID"] not in gone]
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


def _free_resources() -> dict[str, dict[str, float]]:
    """What nobody has claimed, by a node's id."""
    if hasattr(state, "available_resources_per_node"):
        return dict(state.available_resources_per_node())
    return dict(state.state._available_resources_per_node())  # Ray 2.9


def one_line(error: Exception) -> str:
    """What Ray says, which may be a page of text, as far as a line goes."""
    return " ".join(str(error).split())[:300]
