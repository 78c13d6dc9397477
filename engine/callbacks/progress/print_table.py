"""The metrics of all epochs so far, as a table, after every epoch."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from engine.callbacks.base import Callback

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.trainer.trainer import Trainer


class PrintTableMetricsCallback(Callback):
    """Prints a row for each epoch, columns sorted by name and the epoch last."""

    monitor = None  # it shows metrics, so its turn comes after the module's own hooks

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new fit has a new table."""
        self.rows = []

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Add the epoch and print."""
        if trainer.is_global_zero:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.rows.append({**values, "epoch": trainer.current_epoch})
            sys.stdout.write(table_of(self.rows) + "\n")


def table_of(rows: list[dict[str, float]]) -> str:
    """Rows as aligned text; what a row does not have is left blank."""
    columns = sorted({name for row in rows for name in row if name != "epoch"})
    columns.append("epoch")
    cells = [columns, *([_text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
    lines = ["│".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) for line in cells]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if not math.isnan(value) else "nan"
