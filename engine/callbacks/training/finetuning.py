"""Fine-tuning: layers that are frozen at first, and learn from some epoch on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.optimizer import Optimizer

from engine.callbacks.attach import attach
from engine.callbacks.base import Callback
from engine.runtime.distributed.world import rank_zero_info, rank_zero_warn
from engine.runtime.errors import MisconfigurationException
from engine.runtime.torch_internals.torch_parts import BatchNorm

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import State
    from engine.trainer.trainer import Trainer

Layers = torch.nn.Module | Iterable[Any]


class BaseFinetuning(Callback):
    """Base of callbacks that freeze layers at first and let them learn later.

    Override `freeze_before_training(module)` and
    `finetune_function(module, epoch, optimizer, opt_idx)`.
    A resumed run has the groups of parameters that were added before, under the same names.
    """

    def __init__(self) -> None:
        self._added: dict[int, list[dict[str, Any]]] = {}  # by optimizer: names and settings
        self._resumed = False
        self._frozen: list[torch.nn.Parameter] = []  # when the ranks came together

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze what is not to learn at first; called before the optimizers are made."""
        raise NotImplementedError(f"{type(self).__name__} needs `freeze_before_training`")

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer, opt_idx: int = 0
    ) -> None:
        """Called at the beginning of each epoch, for each optimizer."""
        raise NotImplementedError(f"{type(self).__name__} needs `finetune_function`")

    # ------------------------------------------------------------------ to use

    @staticmethod
    def flatten_modules(modules: Layers) -> list[torch.nn.Module]:
        """All layers that have parameters or buffers of their own."""
        if isinstance(modules, torch.nn.ModuleDict):
            modules = list(modules.values())
        if not isinstance(modules, torch.nn.Module):
            return [layer for one in modules for layer in BaseFinetuning.flatten_modules(one)]
        return [
            layer
            for layer in modules.modules()
            if not list(layer.children())
            or any(True for _ in layer.parameters(recurse=False))
            or any(True for _ in layer.buffers(recurse=False))
        ]

    @staticmethod
    def filter_params(
        modules: Layers, train_bn: bool = True, requires_grad: bool = True
    ) -> Iterator[torch.nn.Parameter]:
        """The parameters that learn, or those that do not; `train_bn=False` without batch norm."""
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, BatchNorm) and not train_bn:
                continue
            for parameter in layer.parameters(recurse=False):
                if parameter.requires_grad == requires_grad:
                    yield parameter

    @staticmethod
    def make_trainable(modules: Layers) -> None:
        """Let layers learn."""
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, BatchNorm):
                layer.track_running_stats = True
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad = True

    @staticmethod
    def freeze(modules: Layers, train_bn: bool = True) -> None:
        """Let layers not learn; batch norm goes on to, unless `train_bn` is False."""
        for layer in BaseFinetuning.flatten_modules(modules):
            if isinstance(layer, BatchNorm):
                if train_bn:
                    BaseFinetuning.make_trainable(layer)
                    continue
                layer.track_running_stats = False
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad = False

    @staticmethod
    def freeze_module(module: torch.nn.Module) -> None:
        """Let one layer not learn, batch norm neither."""
        BaseFinetuning.freeze(module, train_bn=False)

    @staticmethod
    def filter_on_optimizer(
        optimizer: Optimizer, params: Iterable[torch.nn.Parameter]
    ) -> list[torch.nn.Parameter]:
        """The parameters that the optimizer does not have yet."""
        have = {id(p) for group in optimizer.param_groups for p in group["params"]}
        given = list(params)
        new = [p for p in given if id(p) not in have]
        if len(new) < len(given):
            rank_zero_warn(
                f"{len(given) - len(new)} of {len(given)} parameters to unfreeze are in the "
                "optimizer already: give configure_optimizers only those that need a gradient"
            )
        return new

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Layers,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Let layers learn, with a group of the optimizer of their own.

        Its rate is `lr`, or that of the optimizer's first group divided by `initial_denom_lr`.
        """
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else lr
        params = BaseFinetuning.filter_params(modules, train_bn=train_bn, requires_grad=True)
        new = BaseFinetuning.filter_on_optimizer(optimizer, params)
        if new:
            optimizer.add_param_group({"params": new, "lr": rate})

    # ------------------------------------------------------------------ hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str | None = None) -> None:
        """Freeze, before the optimizers are made."""
        if stage == "fit":
            self.freeze_before_training(pl_module)
            if trainer.world_size > 1:
                attach(self, "on_after_backward", self._average_gradients)

    def state_dict(self) -> dict[str, Any]:
        """The groups that were added."""
        return {"added": self._added}

    def load_state_dict(self, state_dict: State) -> None:
        """Take back the groups that were added."""
        self._added = {int(idx): groups for idx, groups in state_dict["added"].items()}
        self._resumed = True

    def on_optimizers_made(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the optimizers of a resumed run the groups that they had."""
        if not self._resumed:
            self._added = {}
        self._resumed = False
        named = dict(pl_module.named_parameters())
        for idx, groups in self._added.items():
            for group in groups:
                params = [named[name] for name in group["names"]]
                for parameter in params:
                    parameter.requires_grad = True
                options = {key: value for key, value in group.items() if key != "names"}
                trainer.optimizers[idx].add_param_group({"params": params, **options})
                widen_schedulers(trainer, trainer.optimizers[idx])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what is frozen when the ranks have come together."""
        self._frozen = [p for p in pl_module.parameters() if not p.requires_grad]

    def _average_gradients(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # DDP averages what needed a gradient when it was made: not what was thawed since then.
        # Those accumulated before are averages already, and stay what they are.
        thawed = [p for p in self._frozen if p.requires_grad]
        if thawed and trainer.strategy.holds_all:
            trainer.strategy.average_gradients(thawed)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the subclass thaw what it wants to."""
        names = {id(p): name for name, p in pl_module.named_parameters()}
        for idx, optimizer in enumerate(trainer.optimizers):
            before = len(optimizer.param_groups)
            self.finetune_function(pl_module, trainer.current_epoch, optimizer, idx)
            widen_schedulers(trainer, optimizer)
            for group in optimizer.param_groups[before:]:
                plain = {k: v for k, v in group.items() if isinstance(v, (int, float, str, tuple))}
                kept = {"names": [names[id(p)] for p in group["params"]], **plain}
                self._added.setdefault(idx, []).append(kept)


def widen_schedulers(trainer: Trainer, optimizer: Optimizer) -> None:
    """Let an optimizer's schedulers know of groups that were added after they were made.

    A new group's rate follows the last function that a scheduler has.
    """
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if getattr(scheduler, "optimizer", None) is not optimizer:
            continue
        bases, functions = (getattr(scheduler, n, None) for n in ("base_lrs", "lr_lambdas"))
        for group in optimizer.param_groups[len(bases) if bases is not None else 0 :]:
            group.setdefault("initial_lr", group["lr"])
            if bases is not None:
                bases.append(group["lr"])
            if functions is not None:
                functions.append(functions[-1])


class BackboneFinetuning(BaseFinetuning):
    """Freezes `module.backbone` until an epoch; from there on its rate grows with each epoch.

    It begins with `backbone_initial_lr`, or `backbone_initial_ratio_lr` of the rate of the rest,
    and is multiplied by `lambda_func(epoch)` each epoch: up to the rest's rate, if `should_align`.

    Args:
        unfreeze_backbone_at_epoch: the index of the first epoch that the backbone learns in. By
            default 10.
        lambda_func: the factor of the backbone's rate for the epoch's index. By default always 2.
        backbone_initial_ratio_lr: the backbone's first rate as a share of the rest's. By default
            0.1.
        backbone_initial_lr: the backbone's first rate itself. By default None: by the ratio.
        should_align: whether the rate stops growing at that of the rest. By default True.
        initial_denom_lr: what the rate is divided by for parameters that the optimizer gets at the
            unfreezing. By default 10.
        train_bn: whether batch norm layers learn while the backbone is frozen. By default True.
        verbose: whether to print the rates in each epoch. By default False.
        rounding: to how many decimals. By default 12.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (the arguments that scripts already use)
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = lambda epoch: 2.0,
        backbone_initial_ratio_lr: float = 10e-2,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        self.unfreeze_backbone_at_epoch = unfreeze_backbone_at_epoch
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = backbone_initial_ratio_lr
        self.backbone_initial_lr = backbone_initial_lr
        self.should_align = should_align
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = train_bn
        self.verbose = verbose
        self.rounding = rounding
        self.previous_backbone_lr: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """The groups that were added, and the backbone's rate."""
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze the backbone."""
        backbone = getattr(pl_module, "backbone", None)
        if not isinstance(backbone, torch.nn.Module):
            raise MisconfigurationException(
                f"BackboneFinetuning freezes `self.backbone`, which {type(pl_module).__name__} "
                "does not have: name the layers so, or subclass BaseFinetuning"
            )
        self.freeze(backbone, train_bn=self.train_bn)

    def finetune_function(
        self, pl_module: LightningModule, epoch: int, optimizer: Optimizer, opt_idx: int = 0
    ) -> None:
        """Thaw the backbone when it is time, and let its rate grow."""
        rate = optimizer.param_groups[0]["lr"]
        if epoch == self.unfreeze_backbone_at_epoch:
            own = self.backbone_initial_lr
            own = rate * self.backbone_initial_ratio_lr if own is None else own
            self.previous_backbone_lr = own
            self.unfreeze_and_add_param_group(
                pl_module.backbone, optimizer, own, self.initial_denom_lr, self.train_bn
            )
        elif epoch > self.unfreeze_backbone_at_epoch and self.previous_backbone_lr is not None:
            own = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            own = rate if self.should_align and own > rate else own
            optimizer.param_groups[-1]["lr"] = self.previous_backbone_lr = own
        else:
            return
        if self.verbose:
            rank_zero_info(
                f"engine: rates {round(rate, self.rounding)}, of the backbone "
                f"{round(own, self.rounding)}"
            )
