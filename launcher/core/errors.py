"""The errors of a run that the command line reports: one class for each kind of cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from launcher.core.console.terminal import one_line


class ConfigError(ValueError):
    """Something in the user's configuration that can't be used: what, where, what to do."""

    def __init__(self, problem: str, file: str = "", line: int | None = None) -> None:
        place = f"{file}:{line}: " if line else f"{file}: " if file else ""
        super().__init__(place + problem)
        self.problem, self.file, self.line = problem, file, line


class UsageError(Exception):
    """The request itself is wrong: what, and what to do. Exit code 2."""


class NodeError(Exception):
    """A node that can't be used: what happened, and what to do about it."""

    def __init__(self, node: str, problem: str, advice: str = "") -> None:
        # what a host has said may be in it, and an exception may be printed by anyone
        super().__init__(one_line(f"{node}: {problem}" + (f" ({advice})" if advice else "")))
        self.node, self.problem, self.advice = node, problem, advice


class ClusterError(Exception):
    """The cluster is not as asked: every problem of every node."""

    def __init__(self, problems: Sequence[NodeError]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class PlacementError(Exception):
    """The job does not fit what there is: the numbers, and what to do."""


class RunDirError(Exception):
    """The folder can't be used for this run: which, why, and what to do."""


class AlreadySucceeded(RunDirError):
    """The run has succeeded; ``result`` is what it left (JSON data), ``job`` its description."""

    def __init__(self, message: str, result: dict[str, Any], job: dict[str, Any]) -> None:
        super().__init__(message)
        self.result, self.job = result, job
