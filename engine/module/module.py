"""LightningModule: model, optimizer and steps in one class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from engine.module.datamodule import given_loader
from engine.module.exports import ModuleExports
from engine.module.hyperparameters.hparams import KeepsHyperparameters
from engine.module.logging.results import Flags, LoggedValues
from engine.runtime.distributed.world import rank_zero_only, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.strategies.precision import seed_precision

M = TypeVar("M", bound="LightningModule")


class LightningModule(KeepsHyperparameters, ModuleExports):
    """Override `training_step` and `configure_optimizers`, and what else you need.

    Other steps are `validation_step`, `test_step` and `predict_step`, each of `(batch, batch_idx)`
    and, with several loaders, `dataloader_idx`; each may have a `*_step_end(output)`, and all but
    predict a `*_epoch_end(outputs)`. Every hook of a `Callback` can be a method of the module,
    without the arguments `trainer` and `pl_module`.
    """

    # Keys of what a checkpoint says of a module.
    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"

    automatic_optimization: bool = True
    strict_loading: bool = True  # a checkpoint's weights must be all of the module's, and no others
    truncated_bptt_steps: int = 0  # cut sequences to so many steps; 0: as the Trainer says

    if TYPE_CHECKING:  # TorchScript reads what it finds here or in __init__
        _trainer: Any
        _logged: LoggedValues | None
        _manual: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._trainer = self._logged = self._manual = None

    # ------------------------------------------------------------------ to override

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model does with a batch, for `self(batch)`."""
        return super().forward(*args, **kwargs)

    def configure_optimizers(self) -> Any:
        """Optimizer and schedulers, in any of the forms that the documentation lists."""
        return None

    def configure_callbacks(self) -> Any:
        """Callbacks of the module's own; they replace those of the same class."""
        return []

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """What `trainer.predict` collects: by default what the model says to the batch."""
        return self(batch)

    def prepare_data(self) -> None:
        """Download and prepare, once a node."""

    def setup(self, stage: str | None = None) -> None:
        """Called in every process when a run begins."""

    def teardown(self, stage: str | None = None) -> None:
        """Called in every process when a run has ended."""

    # A module without loaders of its own may ask for those that the run was given.

    def train_dataloader(self) -> Any:
        """The loader to train on."""
        return None if self._trainer is None else given_loader(self._trainer, "train")

    def val_dataloader(self) -> Any:
        """One or several loaders to validate on."""
        return None if self._trainer is None else given_loader(self._trainer, "val")

    def test_dataloader(self) -> Any:
        """One or several loaders to test on."""
        return None if self._trainer is None else given_loader(self._trainer, "test")

    def predict_dataloader(self) -> Any:
        """One or several loaders to predict on."""
        return None if self._trainer is None else given_loader(self._trainer, "predict")

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it goes to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        from engine.runtime.data.samplers import move

        return move(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return batch

    # The next ones take the arguments of 1.x, with the optimizer's index, and those of 2.x.

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients; in 1.x an optimizer and its index follow the loss."""
        if args and (args[0] is None or isinstance(args[0], torch.optim.Optimizer)):
            args = args[2:]
        kwargs.pop("optimizer", None)
        kwargs.pop("optimizer_idx", None)
        loss.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Take a step; the closure among the arguments runs training step and backward."""
        closure = kwargs.get("optimizer_closure") or next(filter(callable, args), None)
        optimizer.step(closure=closure)

    def optimizer_zero_grad(
        self, epoch: int, batch_idx: int, optimizer: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Forget gradients."""
        optimizer.zero_grad()

    def lr_scheduler_step(self, scheduler: Any, *args: Any, **kwargs: Any) -> None:
        """Step a scheduler; the last argument is the metric that it looks at, or None."""
        metric = kwargs.get("metric", args[-1] if args else None)
        if metric is None:
            scheduler.step()
        else:
            scheduler.step(metric)

    def toggle_optimizer(self, optimizer: Any, optimizer_idx: int | None = None) -> None:
        """Make only the parameters of one optimizer need gradients; `untoggle_optimizer` ends it.

        With several optimizers this happens around each one's training step.
        """
        mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
        before = self.__dict__.setdefault("_toggled", {})
        for other in self._attached().optimizers:
            for group in other.param_groups:
                for parameter in group["params"]:
                    needed = before.setdefault(parameter, parameter.requires_grad)
                    parameter.requires_grad = needed and id(parameter) in mine

    def untoggle_optimizer(self, *_: Any, **__: Any) -> None:
        """Make all parameters need gradients that did before `toggle_optimizer`."""
        for parameter, needed in self.__dict__.pop("_toggled", {}).items():
            parameter.requires_grad = needed

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Clip gradients; override it to clip in a way of your own.

        The last two arguments are `gradient_clip_val` and `gradient_clip_algorithm`.
        """
        value, algorithm = args[-2:] if len(args) >= 2 else (*args, None, None)[:2]
        value = kwargs.get("gradient_clip_val", value)
        algorithm = kwargs.get("gradient_clip_algorithm", algorithm)
        self.clip_gradients(optimizer, value, algorithm)

    def get_progress_bar_dict(self) -> dict[str, Any]:
        """What the progress bar shows beside what was logged with `prog_bar=True` (1.x)."""
        return {}

    def tbptt_split_batch(self, batch: Any, split_size: int) -> list[Any]:
        """Cut a batch into parts of `split_size` steps, for truncated back-propagation.

        By default along the second dimension, which is time.
        """
        from engine.runtime.data.sequences import split_batch

        return split_batch(batch, split_size)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See a checkpoint that is being loaded."""

    # ------------------------------------------------------------------ to use

    def log(  # noqa: PLR0913, PLR0917  (the union of the arguments of 1.x and 2.x)
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = True,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        tbptt_reduce_fx: Any = None,
        tbptt_pad_token: Any = None,
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_op: Any = None,
        sync_dist_group: Any = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log one number under `name`: a tensor, a number or a torchmetrics object.

        A dict of such is logged with each of its keys after the name: `name/key`.

        `on_step` and `on_epoch` default to step values in training and epoch values in
        evaluation. An epoch's value is the mean over its samples (`batch_size` says how many there
        were, where the batch does not show it), or `reduce_fx` of the values, over all ranks.
        """
        logged = self._logged
        if logged is None:
            rank_zero_warn(f"self.log({name!r}) outside of a Trainer has no effect")
            return
        if rank_zero_only and self._trainer.global_rank != 0:
            return
        entry = logged.entry(name, add_dataloader_idx)
        if entry is None and isinstance(value, Mapping):
            rest = (tbptt_reduce_fx, tbptt_pad_token, enable_graph, sync_dist, sync_dist_op)
            more = (sync_dist_group, add_dataloader_idx, batch_size, metric_attribute)
            common = (prog_bar, logger, on_step, on_epoch, reduce_fx, *rest, *more, rank_zero_only)
            return self.log_dict({f"{name}/{key}": one for key, one in value.items()}, *common)
        if entry is None or not add_dataloader_idx:
            flags = Flags(
                bool(prog_bar),
                bool(logger),
                on_step,
                on_epoch,
                reduce_fx,
                bool(sync_dist) and not rank_zero_only,
                sync_dist_op,
                add_dataloader_idx,
            )
            if tbptt_reduce_fx is not None or tbptt_pad_token is not None:
                logged.note_no_effect("tbptt_reduce_fx", "tbptt_pad_token")
            entry = logged.enter(name, value, flags)
        logged.take(entry, value, batch_size, enable_graph)

    def log_dict(self, dictionary: Mapping[str, Any], *args: Any, **kwargs: Any) -> None:
        """Log several numbers; further arguments are those of `log`."""
        for name, value in dictionary.items():
            self.log(name, value, *args, **kwargs)

    @rank_zero_only
    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print, from one process only."""
        bar = None if self._trainer is None else self._trainer.progress_bar_callback
        (print if bar is None else bar.print)(*args, **kwargs)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """`data` with each tensor of all ranks stacked in rank order; alone, as it is.

        With `sync_grads` gradients flow back to where the tensors came from.
        """
        from engine.runtime.distributed.gather import all_gather

        return all_gather(data, self.device, group, sync_grads)

    def clip_gradients(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients of an optimizer's parameters by norm or by value."""
        if not gradient_clip_val:
            return
        if self._manual is not None:
            self._manual.unscale(optimizer)
        groups = optimizer.param_groups
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if gradient_clip_algorithm != "value":
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)
        elif parameters:  # torch fails where there is no gradient
            torch.nn.utils.clip_grad_value_(parameters, gradient_clip_val)

    def optimizers(self, use_pl_optimizer: bool = True) -> Any:
        """The optimizer, or the list of them where there are several, to step by hand."""
        is_stepped_here = self._manual is not None and use_pl_optimizer
        optimizers = self._manual.optimizers if is_stepped_here else self._attached().optimizers
        return optimizers[0] if len(optimizers) == 1 else optimizers

    def manual_backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute gradients in a training step that steps its optimizers by hand.

        In place of `loss.backward(...)`: gradients are averaged over the ranks, which must all
        call it equally often, and the loss is scaled in 16 bits.
        """
        if self._manual is None:
            raise MisconfigurationException(
                "manual_backward is for the training_step of a module with "
                "`self.automatic_optimization = False`; otherwise return the loss"
            )
        self._manual.backward(loss, *args, **kwargs)

    def lr_schedulers(self) -> Any:
        """The scheduler, the list of them where there are several, None without any."""
        schedulers = [config.scheduler for config in self._attached().lr_scheduler_configs]
        return (schedulers[0] if len(schedulers) == 1 else schedulers) if schedulers else None

    @classmethod
    def load_from_checkpoint(
        cls: type[M],
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool = True,
        **kwargs: Any,
    ) -> M:
        """Make a module of a checkpoint, a path or an open file: hyper-parameters, then weights.

        `kwargs` override hyper-parameters; `strict` is by default the module's `strict_loading`.
        It is read without running code; `weights_only=False` is your word that you trust it.
        """
        from engine.module.hyperparameters.loading import module_from_checkpoint

        module: M = module_from_checkpoint(
            cls, checkpoint_path, map_location, hparams_file, strict, weights_only, kwargs
        )
        return module

    # ------------------------------------------------------------------ what is

    @property
    def trainer(self) -> Any:
        """The trainer that this module runs in; None, as in 1.x, where it never was in one."""
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self.__dict__["_trainer"] = trainer

    @property
    def logger(self) -> Any:
        """The first logger, None without any."""
        return self._trainer.logger if self._trainer is not None else None

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        return list(self._trainer.loggers) if self._trainer is not None else []

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        for tensor in self.parameters():
            return tensor.device
        if self._trainer is not None:
            device: torch.device = self._trainer.strategy.root_device
            return device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    @property
    def precision(self) -> str | int:
        """What steps compute in: 16, 32, 64 or "bf16"."""
        return 32 if self._trainer is None else seed_precision(self._trainer.precision)

    @property
    def current_epoch(self) -> int:
        """Index of the epoch that runs."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Number of optimizer steps so far."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """The rank of this process."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def on_gpu(self) -> bool:
        """Whether the module is on a GPU."""
        return self.device.type == "cuda"

    def _attached(self) -> Any:
        if self._trainer is None:
            raise RuntimeError(f"{type(self).__name__} is not attached to a Trainer")
        return self._trainer

    def __getstate__(self) -> dict[str, Any]:
        # A copy of a module is a model, not a part of the run that it was taken from.
        return {**self.__dict__, "_trainer": None, "_logged": None, "_manual": None}
