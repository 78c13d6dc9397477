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

# A program that sets one of these above ``import torch`` must start in a fresh interpreter: by
# the time a warm fork runs it, the import has read them.
TORCH_USERS = ("torch", "engine", "lightning", "pytorch_lightning", "accelerate", "transformers")
IMPORT_TIME = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "CUDA_", "PYTORCH_", "TORCH_")


def facts(order: dict[str, Any]) -> dict[str, Any]:
    """All that the controller asks of a node before anything starts (JSON data)."""
    workdir = order["workdir"]
    return {
        "hostname": socket.gethostname(),
        "cores": len(os.sched_getaffinity(0)),
        "addresses": addresses(),
        "reached_at": os.environ.get("SSH_CONNECTION", "").split()[2:3],
        "time": time.time(),
        "free_disk": _free_disk(workdir),
        "workdir": os.path.isdir(workdir),
        "program": _program_problem(order["kind"], order["target"], workdir),
        "shared": _is_shared(order["run_dir"], order["job_id"]),
        "driver": has_driver(),
        "user": _user(),
    }


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


def wants_cold(kind: str, target: str, workdir: str) -> str | None:
    """The variable that the program sets before it imports torch, if it does."""
    if kind == "module":
        target = target.replace(".", "/") + ".py"
    elif kind != "script":
        return None
    source = _text(os.path.join(workdir, target))
    if "environ" not in source and "putenv" not in source:
        return None
    if not any(name in source for name in IMPORT_TIME):
        return None
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None  # the rank itself will say so
    imports = [node.lineno for node in ast.walk(tree) if _imports_torch(node, ast)]
    first_import = min(imports, default=1 << 30)
    for node in ast.walk(tree):
        if getattr(node, "lineno", 1 << 30) < first_import:
            for name in _variables_set(node, ast):
                if name.startswith(IMPORT_TIME):
                    return name
    return None


def _imports_torch(node: Any, ast: Any) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in TORCH_USERS for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in TORCH_USERS


def _variables_set(node: Any, ast: Any) -> list[str]:
    """Names of environment variables that a statement sets: by item, setdefault, update, putenv."""
    keys: list[Any] = []
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        keys = [t.slice for t in targets if isinstance(t, ast.Subscript) and _is_environ(t.value)]
        if isinstance(node, ast.AugAssign) and _is_environ(node.target):
            keys += getattr(node.value, "keys", [])
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        on_environ = _is_environ(getattr(node.func, "value", None))
        if name == "putenv" or (name == "setdefault" and on_environ):
            keys = node.args[:1]
        elif name == "update" and on_environ:
            keys = [key for arg in node.args for key in getattr(arg, "keys", [])]
            return [word.arg for word in node.keywords if word.arg] + _constants(keys)
    return _constants(keys)


def _is_environ(node: Any) -> bool:
    return "environ" in (getattr(node, "attr", ""), getattr(node, "id", ""))


def _constants(nodes: list[Any]) -> list[str]:
    return [node.value for node in nodes if isinstance(getattr(node, "value", None), str)]
