"""The agent's first code: unpacks the rest, leaves a guard behind, and becomes the agent.

The guard is the process that the transport started. It does nothing but wait: when the agent ends,
however it ends, the guard ends all that is left of the run on this node.
"""

import sys


class Sources:
    """Imports our modules from memory: nothing is written or installed on the node."""

    def __init__(self, sources):  # type: ignore[no-untyped-def]  # runs before typing is imported
        self.sources = sources

    def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
        if name not in self.sources:
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self, is_package=name in ("launcher", "launcher.agent"))

    def create_module(self, spec):  # type: ignore[no-untyped-def]
        return None

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        name = module.__spec__.name
        exec(compile(self.sources[name], f"<{name}>", "exec"), module.__dict__)

    def get_source(self, name):  # type: ignore[no-untyped-def]
        return self.sources[name]


def boot(payload, secret):  # type: ignore[no-untyped-def]
    import json

    data = json.loads(payload.split(b"\0", 1)[1])
    sys.meta_path.insert(0, Sources(data["sources"]))
    from launcher.agent.__main__ import guarded

    sys.exit(guarded(data["config"], data["sources"]))


if "payload" in globals():
    boot(payload, secret)  # type: ignore[name-defined]  # noqa: F821 - given by the bootstrap
