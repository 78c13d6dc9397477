"""From a user's request to what Ray is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from launcher.clusters.ray.bundles import Ask
from launcher.clusters.ray.cluster import RayCluster
from launcher.core.errors import ConfigError

if TYPE_CHECKING:
    from launcher.request.discovery import Found
    from launcher.request.request import Wanted

WAIT_S = 60.0
AUTO = "auto"


def ray_cluster(wanted: Wanted, found: Found, say: Callable[[str], None]) -> RayCluster:
    """The Ray cluster of a request; nothing is connected yet. Raises ConfigError."""
    if not is_installed():
        raise ConfigError("--cluster ray needs Ray on this machine: pip install 'plaunch[ray]'")
    assert found.each is not None
    ask = None if wanted.visit else parse(wanted)
    address = found.file.ray.address if found.file else AUTO
    check_address(address if address != AUTO else os.environ.get("RAY_ADDRESS", AUTO))
    python = found.file.python if found.file else None
    wait_s = WAIT_S if wanted.wait_s is None else wanted.wait_s
    return RayCluster(address, ask, replace(found.each, python=python or ""), wait_s, say)


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


def parse(wanted: Wanted) -> Ask:
    """``--nodes``, ``--gpus`` and ``--procs`` as an ask. Raises ConfigError."""
    from launcher.core.gpu_spec import GpuRequestError
    from launcher.core.gpu_spec import parse as parse_gpus

    try:
        gpus = parse_gpus(wanted.gpus)
    except GpuRequestError as error:
        raise ConfigError(str(error)) from error
    if gpus.kind == "list" or gpus.kind == "per_node":
        raise ConfigError(
            f"--gpus {wanted.gpus}: Ray chooses which GPUs a run gets, so ask for a number of "
            "them, all, free or free:N"
        )
    least, most = wanted.nodes or (None, None)
    return Ask(gpus.kind, gpus.count, wanted.procs, least, most)
