"""The table of messages is whole: what is sent, handled and checked is in it, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from launcher.agent.loop.controller import handlers
from launcher.controller.monitor.monitor import AttemptMonitor
from launcher.core.protocol import checks
from launcher.core.protocol.messages import FromAgent, FromRank, ToAgent
from tests.launcher.controller.test_messages import monitor_in, quiet  # noqa: F401 - a fixture

ROOT = Path(__file__).parents[3]
RANK_FILES = (
    "launcher/report.py",
    "launcher/agent/ranks/rank.py",
    "launcher/agent/ranks/torch_parts.py",
    "engine/runtime/distributed/agent_client.py",
)


def table(union: Any) -> dict[str, Any]:
    """The messages of a union by their kind."""
    kinds = {}
    for message in get_args(union):
        (kind,) = ast.literal_eval(f"[{message.__annotations__['type'].__forward_arg__[8:-1]}]")
        kinds[kind] = message
    return kinds


def sent_in(path: Path) -> Iterator[tuple[str, set[str], bool]]:
    """Kind and fields of each message that a file writes down; True if more may be added."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Dict):
            continue
        fields = {key.value: value for key, value in zip(node.keys, node.values, strict=True)
                  if isinstance(key, ast.Constant)}  # fmt: skip
        kind = fields.get("type")
        if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
            yield kind.value, set(fields), None in node.keys


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    ("union", "paths"),
    [
        (ToAgent, files("launcher/controller", "launcher/cli", "launcher/batch")),
        (
            FromAgent,
            [p for p in files("launcher/agent") if p.name not in ("rank.py", "torch_parts.py")],
        ),
        (FromRank, [ROOT / path for path in RANK_FILES]),
    ],
    ids=["to agents", "from agents", "from ranks"],
)
def test_all_that_is_sent_is_in_the_table(union: Any, paths: list[Path]) -> None:
    """Each message that the code writes down is of a known kind and has its fields."""
    known, seen = table(union), set()
    for path in paths:
        for kind, fields, is_open in sent_in(path):
            assert kind in known, f"{path}: {kind}"
            assert fields <= set(known[kind].__annotations__), f"{path}: {kind}"
            assert is_open or known[kind].__required_keys__ <= fields, f"{path}: {kind}"
            seen.add(kind)
    passed_on = set(table(FromRank)) if union is FromAgent else set()
    assert seen | passed_on == set(known)


def test_an_agent_handles_what_a_controller_can_send() -> None:
    """Every kind, and no other."""
    nothing: Any = None
    assert set(handlers(*[nothing] * 8)) == set(table(ToAgent))


def test_a_monitor_handles_only_what_agents_send(tmp_path: Path, quiet: Any) -> None:  # noqa: F811
    """The others are answers, which are asked for before an attempt, or say only that they come."""
    monitor, _, _, rundir = monitor_in(tmp_path / "run", quiet)
    rundir.close()
    assert isinstance(monitor, AttemptMonitor)
    asked_for = {"beat", "found", "probe", "store", "reached", "listening", "gpus", "leased"}
    assert set(table(FromAgent)) - set(monitor.handlers) == asked_for
    assert set(monitor.handlers) <= set(table(FromAgent))


@pytest.mark.parametrize(
    ("union", "shapes"), [(FromAgent, checks.FROM_AGENT), (FromRank, checks.FROM_RANK)]
)
def test_what_is_checked_is_what_is_in_the_table(union: Any, shapes: dict[str, Any]) -> None:
    """The same kinds, the same fields, the same of them may be missing."""
    known = table(union)
    assert set(shapes) == set(known)
    for kind, shape in shapes.items():
        message = known[kind]
        optional = {key.removesuffix("?") for key in shape if key.endswith("?")}
        assert {key.removesuffix("?") for key in shape} | {"type"} == set(message.__annotations__)
        assert optional == set(message.__optional_keys__), kind
