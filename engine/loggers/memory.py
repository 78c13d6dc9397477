"""Metrics kept in memory: for notebooks, and for tests that ask what was logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.loggers.base import Logger
from engine.runtime.storage.hparams_file import as_mapping

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters


class MemoryLogger(Logger):
    """Keeps all it is given: `rows` of (step, metrics), `hparams`, and the closing `status`.

    Args:
        name: the experiment's name. By default `"memory"`.
        version: the run's number or name. By default 0.

    Example:
        The validation losses of a fit::

            logger = MemoryLogger()
            Trainer(logger=logger).fit(module, train_loader, val_loader)
            losses = logger.series("val_loss")  # pairs of a step and a value
    """

    def __init__(self, name: str = "memory", version: int | str = 0) -> None:
        self._name = name
        self._version = version
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.hparams: dict[str, Any] = {}
        self.status: str | None = None

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self._name

    @property
    def version(self) -> int | str:
        """The run's number or name."""
        return self._version

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep one set of values."""
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Keep the hyper-parameters."""
        self.hparams.update(as_mapping(params))

    def finalize(self, status: str) -> None:
        """Remember how the run ended."""
        self.status = status

    def series(self, name: str) -> list[tuple[int | None, float]]:
        """The values of one metric with their steps, in order."""
        return [(step, metrics[name]) for step, metrics in self.rows if name in metrics]
