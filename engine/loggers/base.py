"""What the engine asks of a logger."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from engine.runtime.storage import hparams_file

if TYPE_CHECKING:
    from engine.callbacks.checkpoint.model_checkpoint import ModelCheckpoint
    from engine.loggers.collection import TrainerLoggers
    from engine.runtime.data.types import Hyperparameters, Metrics


class Logger:
    """A destination of a run's metrics and hyper-parameters; the base class of all loggers.

    A subclass implements `name`, `version` and `log_metrics`, and what else it can do. The engine
    calls it on rank zero only; `experiment` is safe to use on every rank.

    Example:
        A logger that prints::

            class PrintLogger(Logger):
                name, version = "print", 0

                def log_metrics(self, metrics, step=None):
                    print(step, metrics)
    """

    _trainer_loggers: TrainerLoggers | None = None  # where the trainer was given a list

    def __init__(self, *_: object, **__: object) -> None:
        """Nothing is kept: loggers of one's own may pass on what 1.x took here."""

    @property
    def name(self) -> str | None:
        """The experiment's name."""
        raise NotImplementedError

    @property
    def version(self) -> int | str | None:
        """The run's number or name among the runs of this experiment."""
        raise NotImplementedError

    @property
    def save_dir(self) -> str | None:
        """The folder of all experiments; None for a logger without folders."""
        return None

    @property
    def root_dir(self) -> str | None:
        """The folder of all versions of this experiment; None for a logger without folders."""
        return None

    @property
    def log_dir(self) -> str | None:
        """The folder of this run; None for a logger without folders."""
        return None

    @property
    def experiment(self) -> Any:
        """The object that really writes."""
        return self

    def set_root(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """Write below `root`, or in its folder `version`, if nothing else was asked for."""
        if type(self).place is not Logger.place:  # overridden by its earlier name
            self.place(root, version)

    def place(self, root: str | os.PathLike[str], version: str | None = None) -> None:
        """An earlier name of `set_root`."""
        self.set_root(root, version)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one set of values.

        Args:
            metrics: numbers by their names.
            step: the number of optimizer steps so far; None where there is none.
        """
        raise NotImplementedError

    def log_hyperparams(self, params: Hyperparameters, **kwargs: Any) -> None:
        """Write the run's hyper-parameters: a mapping, or an object with attributes."""

    def log_graph(self, model: torch.nn.Module, input_array: Any = None) -> None:
        """Write the model's graph, where the logger can; traced with `input_array`."""

    def save(self) -> None:
        """Make all that was logged so far readable by others."""

    def finalize(self, status: str) -> None:
        """Close, after a run that ended as `status` says: success, failed or finished."""

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """A callback that keeps checkpoints has written one."""

    def __getitem__(self, index: int) -> Any:
        """In 1.x several loggers were one: `self.logger[1]` is the second of them."""
        return (self._trainer_loggers or (self,))[index]

    def _shown(self, experiment: Any) -> Any:
        """The experiment as it is seen: the first of a list of loggers answers for all."""
        loggers = self._trainer_loggers
        return loggers.experiments(experiment) if loggers and loggers[0] is self else experiment

    # What loggers of one's own call, as 1.x had it.

    LOGGER_JOIN_CHAR = "-"
    NAME_HPARAMS_FILE = hparams_file.HPARAMS_FILE
    group_separator = "/"
    _convert_params = staticmethod(hparams_file.as_mapping)
    _flatten_dict = staticmethod(hparams_file.flatten)
    _sanitize_params = staticmethod(hparams_file.simple_values)
    _sanitize_callable_params = staticmethod(hparams_file.called_values)

    def close(self) -> None:
        """Write out what waits."""
        self.save()

    def agg_and_log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log; values of one step come together already, so there is nothing to combine."""
        self.log_metrics(metrics, step)

    def update_agg_funcs(self, *_: object, **__: object) -> None:
        """Nothing is combined."""

    def _add_prefix(
        self, metrics: Metrics, prefix: str = "", separator: str = "-"
    ) -> dict[str, Any]:
        """The metrics, each name after a prefix: the given one, or the logger's own."""
        start = prefix or getattr(self, "_prefix", "")
        return {f"{start}{separator}{name}" if start else name: v for name, v in metrics.items()}
