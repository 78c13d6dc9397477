"""The agent's first code: unpacks the rest, leaves a guard behind, and becomes the agent.

The guard is the process that the transport started. It does nothing but wait: when the agent ends,
however it ends, the guard ends all that is left of the run on this node.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any


class Sources:
    """Imports our modules from memory: nothing is written or installed on the node."""

    def __init__(self, sources: dict[str, str | CodeType]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """A spec for the modules that we have."""
        if name not in self.sources:
            return None
        loader: Any = self
        spec: Any = type(sys.__spec__)  # importlib's ModuleSpec, without importing that
        return spec(name, loader, is_package=self.sources[name] == "")

    def create_module(self, spec: object) -> None:
        """The usual way."""

    def exec_module(self, module: Any) -> None:
        """Run the module's code."""
        name = module.__spec__.name
        code = self.sources[name]
        if isinstance(code, str):
            code = compile(code, f"<{name}>", "exec")
        exec(code, module.__dict__)

    def get_source(self, name: str) -> str | None:
        """For tracebacks."""
        source = self.sources[name]
        return source if isinstance(source, str) else None


def boot(
    files: dict[str, str | CodeType],
    config: bytes,
    tether: int | None,
    keys: list[bytes] | None,
) -> None:
    """Become guard and agent; never returns.

    ``tether`` is a file whose end means that whoever started us has gone. ``keys`` seal what comes
    from the controller and what goes to it, where the connection is anybody's to touch.
    """
    finder: Any = Sources(files)
    sys.meta_path.insert(0, finder)
    from launcher.agent.__main__ import guarded
    from launcher.core.protocol.frames import loads

    sys.exit(guarded({**loads(config), "tether": tether, "keys": keys}, files))


if "files" in globals():  # given by the bootstrap
    boot(*(globals()[name] for name in ("files", "config", "tether", "keys")))
