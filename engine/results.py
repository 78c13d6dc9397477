"""What came out of a run: told to the launcher, and shown to a person."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from engine.reports import line

_reported: dict[str, Any] = {}  # of all trainers of this process: a rank has one value


def report(trainer: Any, metrics: Mapping[str, float]) -> None:
    """Tell the launcher, if there is one, what came out so far."""
    if not line().is_open:
        return
    callback = trainer.checkpoint_callback
    _reported.update(metrics)
    _reported["engine"] = {
        "best_model_path": (callback.best_model_path if callback is not None else "") or None,
        "last_model_path": (callback.last_model_path if callback is not None else "") or None,
        "monitor": getattr(callback, "monitor", None),
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
    }
    line().report(_reported)


def print_results(verb: str, results: Sequence[Mapping[str, float]]) -> None:
    """A table of the metrics, one column a loader."""
    names = sorted({name for one in results for name in one})
    if not names:
        return
    width = max(len(name) for name in (*names, f"{verb} metric"))
    heads = ["value"] if len(results) == 1 else [f"loader {i}" for i in range(len(results))]
    rows = [f"{f'{verb} metric':<{width}}  " + "  ".join(f"{head:>12}" for head in heads)]
    for name in names:
        cells = [f"{one[name]:>12.6g}" if name in one else " " * 12 for one in results]
        rows.append(f"{name:<{width}}  " + "  ".join(cells))
    rule = "-" * len(rows[0])
    sys.stdout.write("\n".join([rule, rows[0], rule, *rows[1:], rule]) + "\n")
    sys.stdout.flush()
