"""Metrics as TensorBoard event files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from engine.loggers.folders.base import DEFAULT_NAME, FolderLogger
from engine.runtime.distributed.world import on_rank_zero
from engine.runtime.storage.hparams_file import as_mapping, flat, write_hparams
from engine.runtime.torch_internals.torch_parts import file_writer

if TYPE_CHECKING:
    from engine.runtime.data.types import Hyperparameters, Metrics


class TensorBoardLogger(FolderLogger):
    """Writes event files and `hparams.yaml` into the run's folder.

    TensorBoard's writer takes long to import: that waits until there is something to write.
    Further keyword arguments go to `torch.utils.tensorboard.SummaryWriter`.

    Args:
        save_dir: the folder of all experiments. By default None: where the run's other files go.
        name: the folder within it; "" or None for none. By default `"lightning_logs"`.
        version: the run's number, or the name of its folder. By default None: the next number.
        log_graph: whether the model's graph is written; the module needs an
            `example_input_array` for it. By default False.
        default_hp_metric: whether hyper-parameters that are logged without metrics get the value
            `hp_metric=-1`, so that the HPARAMS page shows them. By default True.
        prefix: text before each metric's name, with a hyphen in between. By default none.
        sub_dir: a folder within the run's for the event files. By default None.
        writer_options: further arguments of `SummaryWriter`, such as `flush_secs`.
    """

    def __init__(
        self,
        save_dir: str | os.PathLike[str] | None = None,
        name: str | None = DEFAULT_NAME,
        version: int | str | None = None,
        log_graph: bool = False,
        default_hp_metric: bool = True,
        prefix: str = "",
        sub_dir: str | os.PathLike[str] | None = None,
        **writer_options: Any,
    ) -> None:
        super().__init__(save_dir, name, version, prefix)
        self._log_graph = log_graph
        self._default_hp_metric = default_hp_metric
        self._sub_dir = None if sub_dir is None else os.fspath(sub_dir)
        self._writer_options = writer_options
        self._unwritten_hparams: tuple[dict[str, Any], dict[str, Any]] | None = None
        self.hparams: dict[str, Any] = {}

    @property
    def log_dir(self) -> str:
        """The folder of this run."""
        folder = super().log_dir
        return folder if self._sub_dir is None else os.path.join(folder, self._sub_dir)

    def _open(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        # A step should not wait for the writer's thread because ten values are in its queue; a
        # person who watches should not wait for two minutes.
        own = {"log_dir": self.log_dir, "max_queue": 1000, "flush_secs": 10}
        options = {**own, **self._writer_options}
        writer = SummaryWriter(**options)
        if self._unwritten_hparams is not None:
            _write_hparams_summary(writer, *self._unwritten_hparams)
            self._unwritten_hparams = None
        return writer

    def log_metrics(self, metrics: Metrics, step: int | None = None) -> None:
        """Write each value as a scalar; a dict of values becomes one chart with several lines."""
        if not on_rank_zero():
            return
        scalars = {}
        for name, value in self._named(metrics).items():
            if isinstance(value, Mapping):
                self.experiment.add_scalars(name, dict(value), step)
            else:
                scalars[name] = float(value)
        if scalars:
            _write_scalars(self.experiment, scalars, step)

    def log_hyperparams(
        self, params: Hyperparameters, metrics: Metrics | None = None, **kwargs: Any
    ) -> None:
        """Keep the hyper-parameters in `hparams.yaml` and for TensorBoard's HPARAMS page."""
        self.hparams.update(as_mapping(params))
        if metrics is None:
            metrics = {"hp_metric": -1} if self._default_hp_metric else {}
        if not on_rank_zero():
            return
        write_hparams(self.log_dir, self.hparams)
        if self._experiment is None:
            self._unwritten_hparams = (flat(self.hparams), dict(metrics))
        else:
            _write_hparams_summary(self._experiment, flat(self.hparams), metrics)

    def log_graph(self, model: torch.nn.Module, input_array: Any = None) -> None:
        """Write the model's graph, if the logger was made with `log_graph=True`."""
        if not self._log_graph:
            return
        if input_array is None:
            input_array = getattr(model, "example_input_array", None)
        if input_array is not None:
            follow = getattr(model, "_example_to_follow", None)
            if follow is not None:  # it goes where the module is, in the module's precision
                input_array = follow(input_array, "log_graph")
            # A module, not in its run: tracing would look at each of its properties.
            as_exported = getattr(model, "as_exported", nullcontext)
            with warnings.catch_warnings(), as_exported():
                # The writer uses torch.jit.trace, which warns; nobody here can change that.
                for kind in (DeprecationWarning, FutureWarning):
                    warnings.simplefilter("ignore", kind)
                self.experiment.add_graph(model, input_array)

    def save(self) -> None:
        """Hand everything to the file."""
        if self._experiment is not None:
            self._experiment.flush()

    def finalize(self, status: str) -> None:
        """Close the event file; a later value opens a further one."""
        if self._experiment is not None:
            self._experiment.flush()
            self._experiment.close()


def _write_scalars(writer: Any, scalars: Mapping[str, float], step: int | None) -> None:
    """Write a row as one event: half the time of an event for each value."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    row = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
    file_writer(writer).add_summary(Summary(value=row), step)


def _write_hparams_summary(writer: Any, params: Mapping[str, Any], metrics: Metrics) -> None:
    from torch.utils.tensorboard.summary import hparams

    if not params and not metrics:
        return
    for summary in hparams(dict(params), dict(metrics)):  # type: ignore[no-untyped-call]
        file_writer(writer).add_summary(summary)
    for name, value in metrics.items():
        writer.add_scalar(name, value, 0)
