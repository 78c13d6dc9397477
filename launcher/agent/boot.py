"""The agent's first code: unpacks the rest, leaves a guard behind, and becomes the agent.

The guard is the process that the transport started. It does nothing but wait: when the agent ends,
however it ends, the guard ends all that is left of the run on this node.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from typing import Any


class Sources:
    """Imports our modules from memory: nothing is written or installed on the node."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """A spec for the modules that we have."""
        if name not in self.sources:
            return None
        from importlib.machinery import ModuleSpec

        loader: Any = self
        return ModuleSpec(name, loader, is_package=name in ("launcher", "launcher.agent"))

    def create_module(self, spec: object) -> None:
        """The usual way."""

    def exec_module(self, module: Any) -> None:
        """Run the module's source."""
        name = module.__spec__.name
        exec(compile(self.sources[name], f"<{name}>", "exec"), module.__dict__)

    def get_source(self, name: str) -> str:
        """For tracebacks."""
        return self.sources[name]


def boot(payload: bytes, tether: int | None) -> None:
    """Become guard and agent; never returns.

    ``tether`` is a file whose end means that whoever started us has gone.
    """
    import json

    data = json.loads(payload.split(b"\0", 1)[1])
    data["config"]["tether"] = tether
    finder: Any = Sources(data["sources"])
    sys.meta_path.insert(0, finder)
    from launcher.agent.__main__ import guarded

    sys.exit(guarded(data["config"], data["sources"]))


if "payload" in globals():  # given by the bootstrap
    boot(globals()["payload"], globals()["tether"])
