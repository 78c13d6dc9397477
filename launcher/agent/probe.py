"""What a node is like: the facts that placement, rendezvous and the table of problems need."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from launcher.gpu_probe import has_driver


def facts(order: dict[str, Any]) -> dict[str, Any]:
    """All that the controller asks of a node before anything starts (JSON data)."""
    workdir = order["workdir"]
    return {
        "hostname": socket.gethostname(),
        "cores": cores(),
        "addresses": addresses(),
        "reached_at": [*called_from(), *os.environ.get("SSH_CONNECTION", "").split()[2:3]],
        "time": time.time(),
        "free_disk": _free_disk(workdir),
        "workdir": os.path.isdir(workdir),
        "program": _program_problem(order["kind"], order["target"], workdir),
        "shared": _is_shared(order["run_dir"], order["job_id"]),
        "driver": has_driver(),
        "user": _user(),
    }


def cores() -> int:
    """The processors that are ours: SLURM does not always hold a job to what it was given."""
    ours = len(os.sched_getaffinity(0))
    told = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return min(ours, int(told)) if told.isdigit() and int(told) > 0 else ours


def called_from() -> list[str]:
    """Our address on the way to the launcher, where our standard input is a connection to it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(0)) as call:
        if call.family in (socket.AF_INET, socket.AF_INET6):
            return [call.getsockname()[0]]
    return []


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())


def addresses() -> dict[str, list[str]]:
    """Addresses by network interface, IPv4 before IPv6, without link-local ones."""
    import fcntl
    import struct

    found: dict[str, list[str]] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                packed = fcntl.ioctl(sock, 0x8915, struct.pack("256s", name.encode()[:15]))
                found.setdefault(name, []).append(socket.inet_ntoa(packed[20:24]))  # SIOCGIFADDR
    for row in _text("/proc/net/if_inet6").splitlines():
        digits, _, _, scope, _, name = row.split()
        if scope in ("00", "10"):
            packed = bytes.fromhex(digits)
            found.setdefault(name, []).append(socket.inet_ntop(socket.AF_INET6, packed))
    return found


def interface_of(address: str) -> str | None:
    """The interface that carries ``address``."""
    for name, known in addresses().items():
        if address in known:
            return name
    return None


def route_to(address: str, port: int) -> tuple[str | None, str | None]:
    """Our address and interface on the way to ``address``; no packet is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        mine = sock.getsockname()[0]
        return mine, interface_of(mine)
    return None, None


def reaches(address: str, port: int, timeout_s: float = 5.0) -> str | None:
    """None if a TCP connection to ``address`` works, or what went wrong."""
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except OSError as error:
        return str(error)
    return None


def _free_disk(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path).free
    return None


def _is_shared(run_dir: str, job_id: str) -> bool:
    """Whether the run folder that the controller made is this node's too."""
    with contextlib.suppress(OSError):
        return job_id in Path(run_dir, "job.json").read_text()
    return False


def _program_problem(kind: str, target: str, workdir: str) -> str | None:
    if kind == "script":
        path = os.path.join(workdir, target)
        if not os.path.exists(path):
            return f"script not found: {path}"
        if not os.access(path, os.R_OK):
            return f"script can't be read: {path}"
    elif kind == "program":
        path = target if "/" not in target else os.path.join(workdir, target)
        if shutil.which(path) is None:
            return f"program not found: {target}"
    return None
