"""From a user's request to what Ray is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

from launcher.clusters.ray.bundles import Ask
from launcher.clusters.ray.cluster import RayCluster
from launcher.core.errors import ConfigError
from launcher.core.job import Node, RunOptions

WAIT_S = 60.0
AUTO = "auto"


def ray_cluster(
    options: RunOptions | None,
    node: Node,
    say: Callable[[str], None],
    *,
    address: str | None = None,
    python: str | None = None,
) -> RayCluster:
    """The Ray cluster of a request; nothing is connected yet. Raises ConfigError.

    ``options`` say what is asked for; None: nothing, its nodes are only looked at. ``node`` is what
    holds for every node, ``address`` and ``python`` are the cluster file's.
    """
    if not is_installed():
        raise ConfigError("--cluster ray needs Ray on this machine: pip install 'plaunch[ray]'")
    ask = None if options is None else parse(options)
    address = address or AUTO
    check_address(address if address != AUTO else os.environ.get("RAY_ADDRESS", AUTO))
    wait_s = WAIT_S if options is None or options.wait_s is None else options.wait_s
    return RayCluster(address, ask, replace(node, python=python or ""), wait_s, say)


def is_installed() -> bool:
    """Whether Ray is there; it is not imported."""
    import importlib.util

    return importlib.util.find_spec("ray") is not None


def check_address(address: str) -> None:
    """Refuse what is no address of a cluster that this machine is part of. Raises ConfigError."""
    if address.startswith("ray://"):
        raise ConfigError(
            f"{address} is for Ray's client, through which no run can be followed: run plaunch on "
            "a machine of the cluster, or as: ray job submit -- plaunch ..."
        )
    if address.startswith(("http://", "https://")):
        raise ConfigError(
            f"{address} is Ray's dashboard: ray job submit --address {address} -- plaunch ... runs "
            "plaunch there; else unset RAY_ADDRESS"
        )


def parse(options: RunOptions) -> Ask:
    """``--nodes``, ``--gpus`` and ``--procs`` as an ask. Raises ConfigError."""
    from launcher.core.gpu_spec import GpuRequestError
    from launcher.core.gpu_spec import parse as parse_gpus

    try:
        gpus = parse_gpus(options.gpus)
    except GpuRequestError as error:
        raise ConfigError(str(error)) from error
    if gpus.kind == "list" or gpus.kind == "per_node":
        raise ConfigError(
            f"--gpus {options.gpus}: Ray chooses which GPUs a run gets, so ask for a number of "
            "them, all, free or free:N"
        )
    least, most = options.nodes or (None, None)
    return Ask(gpus.kind, gpus.count, options.procs, least, most)
