"""An ordinary torch module as a LightningModule, in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from engine import LightningModule  # the public class, as a user's modules have it
from engine.runtime.errors import MisconfigurationException

_STAGES = {"train": "train", "val": "val", "test": "test"}


class WrappedModule(LightningModule):
    """What `wrap` makes; `model` is the module that was given."""

    def __init__(
        self,
        model: torch.nn.Module,
        loss: Any,
        optimizer: Any,
        lr: float,
        scheduler: Any,
        metrics: Mapping[str, Any],
    ) -> None:
        super().__init__()
        if isinstance(optimizer, torch.optim.Optimizer):
            lr = _own_rate(optimizer, model)
        self.save_hyperparameters({"lr": lr})
        self.model = model
        self.lr = lr
        self._loss = _loss_function(loss)
        self._optimizer = _optimizer_maker(optimizer)
        self._scheduler = scheduler
        self._functions = {k: m for k, m in metrics.items() if not _is_module(m)}
        self.metrics = torch.nn.ModuleDict(
            {
                f"{stage}_{name}": _copy(metric)
                for stage in _STAGES
                for name, metric in metrics.items()
                if _is_module(metric)
            }
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model says."""
        return self.model(*args, **kwargs)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """The loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log `val_loss` and the metrics."""
        self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log `test_loss` and the metrics."""
        self._step(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """What the model says to a batch, with or without targets."""
        return self._split(batch)[0]

    def configure_optimizers(self) -> Any:
        """The optimizer with the rate `lr`, and the scheduler if there is one."""
        optimizer = self._optimizer([p for p in self.parameters() if p.requires_grad], self.lr)
        if self._scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self._scheduler(optimizer)}

    def _split(self, batch: Any) -> tuple[Any, Any]:
        """Output and target: of (inputs..., target), or of a dict of the model's arguments."""
        if isinstance(batch, Mapping):
            return self.model(**batch), batch.get("labels", batch.get("target"))
        if isinstance(batch, (list, tuple)) and len(batch) > 1:
            return self.model(*batch[:-1]), batch[-1]
        return self.model(*batch) if isinstance(batch, (list, tuple)) else self.model(batch), None

    def _step(self, batch: Any, stage: str) -> torch.Tensor:
        output, target = self._split(batch)
        if self._loss is None:
            loss = output["loss"] if isinstance(output, Mapping) else getattr(output, "loss", None)
        else:
            loss = self._loss(output) if target is None else self._loss(output, target)
        if not isinstance(loss, torch.Tensor):
            raise MisconfigurationException(
                f"engine.wrap: {type(self.model).__name__} returns no `loss` of its own: give "
                "wrap(model, loss=...) a function of (output, target)"
            )
        self.log(f"{stage}_loss", loss, prog_bar=True, on_epoch=True, on_step=stage == "train")
        for name, function in self._functions.items():
            value = function(output, target)
            self.log(f"{stage}_{name}", value, prog_bar=True, on_epoch=True, on_step=False)
        for name, metric in self.metrics.items():
            if name.startswith(f"{stage}_"):
                metric(output, target)
                self.log(name, metric, prog_bar=True, on_epoch=True, on_step=False)
        return loss


def wrap(
    model: torch.nn.Module,
    loss: str | Callable[..., torch.Tensor] | None = None,
    optimizer: Any = "Adam",
    lr: float = 1e-3,
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> WrappedModule:
    """Make a LightningModule of `model`: `trainer.fit(engine.wrap(net, "cross_entropy"), loader)`.

    A batch is (inputs..., target), or a dict of the model's arguments. `loss` is a function of
    (output, target) or the name of one in torch.nn.functional; None takes the `loss` that the model
    returns itself. `optimizer` is the name of one in torch.optim, a class, a function of the
    parameters, or one of the model's parameters with a rate of its own; `scheduler` a function of
    the optimizer. `metrics` by name are torchmetrics objects or functions of (output, target).
    Logged are train_loss, val_loss, test_loss and the metrics.
    """
    return WrappedModule(model, loss, optimizer, lr, scheduler, metrics or {})


def _loss_function(loss: Any) -> Callable[..., Any] | None:
    if loss is None or callable(loss):
        function: Callable[..., Any] | None = loss() if isinstance(loss, type) else loss
        return function
    found = getattr(torch.nn.functional, str(loss), None)
    if not callable(found):
        raise MisconfigurationException(
            f"engine.wrap(loss={loss!r}): torch.nn.functional has no such function"
        )
    return found  # type: ignore[no-any-return]  # torch


def _optimizer_maker(optimizer: Any) -> Callable[[Any, float], torch.optim.Optimizer]:
    if isinstance(optimizer, str):
        found = getattr(torch.optim, optimizer, None)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise MisconfigurationException(
                f"engine.wrap(optimizer={optimizer!r}): torch.optim has no such optimizer"
            )
        optimizer = found
    if isinstance(optimizer, torch.optim.Optimizer):
        return partial(_at_rate, optimizer, optimizer.param_groups[0]["lr"])
    if isinstance(optimizer, type):
        return lambda params, lr: optimizer(params, lr=lr)
    if not callable(optimizer):
        raise MisconfigurationException(
            f"engine.wrap(optimizer=...) is a name, a class or a function of the parameters, or an "
            f"optimizer, not a {type(optimizer).__name__}"
        )
    return lambda params, lr: optimizer(params)


def _own_rate(optimizer: torch.optim.Optimizer, model: torch.nn.Module) -> float:
    """The rate of an optimizer that was given, which must be the model's."""
    theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if theirs - {id(p) for p in model.parameters()}:
        raise MisconfigurationException(
            f"engine.wrap(optimizer={type(optimizer).__name__}(...)): it has parameters that are "
            f"none of this {type(model).__name__}'s. Make it with model.parameters()"
        )
    return float(optimizer.param_groups[0]["lr"])


def _at_rate(
    optimizer: torch.optim.Optimizer, given: float, _: Any, lr: float
) -> torch.optim.Optimizer:
    if lr != given:  # a rate was found for it
        for group in optimizer.param_groups:
            group["lr"] = lr
    return optimizer


def _is_module(metric: Any) -> bool:
    return isinstance(metric, torch.nn.Module)


def _copy(metric: Any) -> Any:
    import copy

    return copy.deepcopy(metric)
