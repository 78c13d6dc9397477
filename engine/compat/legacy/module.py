"""LightningModule with the names of 1.x: sizes, norms, a table, predictions in a file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from engine.callbacks.monitors.gradients import grad_norm
from engine.module import module as core
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.files import replacing


class LightningModule(core.LightningModule):  # noqa: D101  (it has the text of the core's)
    __doc__ = core.LightningModule.__doc__

    # What a module of 1.x assigns to one of these names counts.

    @property
    def datamodule(self) -> Any:
        """The data module of the run, None without."""
        if "datamodule" in self.__dict__:
            return self.__dict__["datamodule"]
        trainer = self.__dict__.get("_trainer")
        return None if trainer is None else trainer.datamodule

    @datamodule.setter
    def datamodule(self, value: Any) -> None:
        self.__dict__["datamodule"] = value

    @property
    def _device(self) -> Any:
        """Where the module is, as its own inside was called."""
        return self.__dict__.get("_device", self.device)

    @_device.setter
    def _device(self, value: Any) -> None:
        self.__dict__["_device"] = value

    @property
    def _dtype(self) -> Any:
        """The type of the parameters, as its own inside was called."""
        return self.__dict__.get("_dtype", self.dtype)

    @_dtype.setter
    def _dtype(self, value: Any) -> None:
        self.__dict__["_dtype"] = value

    @property
    def model_size(self) -> Any:
        """What the parameters and buffers take, in MB."""
        if "model_size" in self.__dict__:
            return self.__dict__["model_size"]
        return sum(t.numel() * t.element_size() for t in self.state_dict().values()) / 1e6

    @model_size.setter
    def model_size(self, value: Any) -> None:
        self.__dict__["model_size"] = value

    def grad_norm(self, norm_type: float | int | str) -> dict[str, torch.Tensor]:
        """The norm of each parameter's gradient, and of all of them."""
        return grad_norm(self, norm_type)

    def log_grad_norm(self, grad_norm_dict: Mapping[str, Any]) -> None:
        """Log norms of gradients."""
        self.log_dict(grad_norm_dict, on_step=True, on_epoch=False, prog_bar=True)

    def summarize(self, mode: str | None = "top", max_depth: int | None = None) -> Any:
        """Print the table of the module, from one process; returns it."""
        from engine.callbacks.monitors.summary import DEPTHS, summarize
        from engine.runtime.distributed.world import rank_zero_info

        depth = DEPTHS.get(mode or "", 0) if max_depth is None else max_depth
        if depth == 0:
            return None
        table = summarize(self, depth)
        rank_zero_info(table)
        return table

    # ------------------------------------------------------------------ predictions in a file

    def write_prediction(self, name: str, value: Any, filename: str = "predictions.pt") -> None:
        """Add to a file of predictions, which is written when the evaluation is over.

        It is a list with a dict of all names for each sample; on several ranks one a rank.
        """
        files = self.__dict__.setdefault("_predictions", PredictionFiles())
        files.add(filename, name, value)

    def write_prediction_dict(
        self, predictions_dict: Mapping[str, Any], filename: str = "predictions.pt"
    ) -> None:
        """The same for several names."""
        for name, value in predictions_dict.items():
            self.write_prediction(name, value, filename)

    write_predictions = write_prediction_dict


class PredictionFiles:
    """What `write_prediction` collects in an evaluation, by file and name, for its end."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, list[Any]]] = {}

    def add(self, filename: str, name: str, value: Any) -> None:
        """Add one value a sample."""
        values = value.detach().cpu().tolist() if isinstance(value, torch.Tensor) else list(value)
        self._files.setdefault(filename, {}).setdefault(name, []).extend(values)

    def write(self, world: Any) -> None:
        """Write all files of this rank."""
        for filename, columns in self._files.items():
            counts = {name: len(values) for name, values in columns.items()}
            if len(set(counts.values())) > 1:
                raise MisconfigurationException(
                    f"write_prediction: the names of {filename} have different numbers of values, "
                    f"{counts}: write one value a sample for each"
                )
            path = Path(os.path.abspath(filename))
            if world.world_size > 1:
                path = path.with_name(f"{path.stem}_rank_{world.rank}{path.suffix}")
            values = zip(*columns.values(), strict=True)
            with replacing(path) as file:
                torch.save([dict(zip(columns, row, strict=True)) for row in values], file)
