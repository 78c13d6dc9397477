"""A run's result as the JSON data of ``result.json``, and back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from launcher.core.job import Failure, PastAttempt, RankResult, Result, Verdict

Data = TypeVar("Data")


def result_as_data(result: Result) -> Mapping[str, Any]:
    """The result file's content, as the contract has it."""
    data = asdict(result)
    data.pop("run_dir")
    verdict = data["verdict"]
    if verdict is not None and verdict["exception"] is not None:
        verdict["exception"].pop("chain")
    data["nodes"] = [dict(node) for node in result.nodes]
    data["run_dir"] = result.run_dir
    return data


def result_from_data(data: Mapping[str, Any]) -> Result:
    """The data of a ``result.json``. Raises KeyError, TypeError or ValueError if it is none."""
    verdict = data["verdict"]
    if verdict is not None:
        exception = verdict.get("exception")
        verdict = _make(Verdict, verdict, exception=exception and _make(Failure, exception))
    return _make(
        Result,
        data,
        verdict=verdict,
        nodes=tuple(data["nodes"]),
        ranks=tuple(_make(RankResult, rank) for rank in data["ranks"]),
        history=tuple(_make(PastAttempt, past) for past in data.get("history", ())),
    )


def _make(kind: type[Data], data: Mapping[str, Any], **more: Any) -> Data:
    """Build a dataclass from JSON data; what it has no field for is left out."""
    plain = {}
    for field in fields(kind):  # type: ignore[arg-type]  # all are dataclasses
        if field.name in data:
            found = data[field.name]
            # their annotations are texts, and JSON has lists only
            is_tuple = str(field.type).startswith("tuple")
            plain[field.name] = tuple(found) if is_tuple else found
    return kind(**{**plain, **more})
