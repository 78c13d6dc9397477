"""The agent's code, packed for its way to the nodes.

Compiling it and the modules that it needs is most of what an agent does before it is at work. So a
node whose Python has the same code format as ours gets our compiled code, any other the source.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import sys
import threading
import zlib
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

# The files that travel.
SOURCES = (
    "launcher.agent.__main__",
    "launcher.agent.agent",
    "launcher.agent.boot",
    "launcher.agent.forkserver.client",
    "launcher.agent.forkserver.needs_cold",
    "launcher.agent.forkserver.needs_compiler",
    "launcher.agent.forkserver.server",
    "launcher.agent.loop.attempts",
    "launcher.agent.loop.controller",
    "launcher.agent.loop.heartbeat",
    "launcher.agent.loop.server",
    "launcher.agent.loop.signals",
    "launcher.agent.lowlevel",
    "launcher.agent.node.cleanup",
    "launcher.agent.node.gpu_lease",
    "launcher.agent.node.gpu_probe",
    "launcher.agent.node.limits",
    "launcher.agent.node.probe",
    "launcher.agent.node.program_files",
    "launcher.agent.node.pulse",
    "launcher.agent.node.requests",
    "launcher.agent.ranks.ending",
    "launcher.agent.ranks.last_lines",
    "launcher.agent.ranks.outputs",
    "launcher.agent.ranks.processes",
    "launcher.agent.ranks.rank",
    "launcher.agent.ranks.reports",
    "launcher.agent.ranks.stdin",
    "launcher.agent.ranks.torch_parts",
    "launcher.agent.ranks.waits",
    "launcher.agent.ranks.workers",
    "launcher.agent.rendezvous.door",
    "launcher.agent.rendezvous.store",
    "launcher.agent.system",
    "launcher.agent.wire",
    "launcher.core.protocol.frames",
    "launcher.core.protocol.checks",
    "launcher.core.protocol.seal",
    "launcher.core.protocol.shapes",
    "launcher.core.regular",
)
# Their packages, which are empty on the nodes.
PACKAGES = sorted(
    {name.rsplit(".", up)[0] for name in SOURCES for up in range(1, name.count(".") + 1)}
)
# These run in interpreters of their own, which the agent starts with the source.
TEXTS = (
    "launcher.agent.ranks.rank",
    "launcher.agent.ranks.torch_parts",
    "launcher.agent.forkserver.server",
)


class AgentBundle:
    """All that travels, packed once for each kind of Python among the nodes."""

    def __init__(self) -> None:
        self._packed: dict[bool, bytes] = {}
        self._packing = threading.Lock()

    def with_config(self, config: Mapping[str, Any]) -> Callable[[str], bytes]:
        """What one node gets, as its kind of Python takes it."""
        encoded = json.dumps(config).encode()
        return lambda python: self._for(python) + encoded

    def _for(self, python: str) -> bytes:
        alike = python == own_kind()
        with self._packing:
            if alike not in self._packed:
                self._packed[alike] = _pack(compiled=alike)
            return self._packed[alike]


def own_kind() -> str:
    """What a node's end says of its Python if it can run our compiled code."""
    return f"{sys.implementation.cache_tag}-{importlib.util.MAGIC_NUMBER.hex()}"


def _pack(*, compiled: bool) -> bytes:
    """All files: source, or compiled code."""
    here = Path(__file__).parents[3]
    files: dict[str, str | CodeType] = dict.fromkeys(PACKAGES, "")
    for name in SOURCES:
        path = here.joinpath(*name.split(".")).with_suffix(".py")
        code = None
        if compiled and name not in TEXTS:
            # As an import does: from __pycache__ if that is up to date.
            code = SourceFileLoader(name, str(path)).get_code(name)
        files[name] = path.read_text(encoding="utf-8") if code is None else code
    # This format of marshal's is read by every version of Python, apart from code objects.
    return zlib.compress(marshal.dumps(files, *([] if compiled else [2])), 1)


def pynvml_source() -> dict[str, str]:
    """NVIDIA's library for asking the driver, one pure file, so that a node needn't have it."""
    spec = importlib.util.find_spec("pynvml")
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return {}
    return {"pynvml": Path(spec.origin).read_text()}
