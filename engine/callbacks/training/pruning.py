"""Pruning: weights that matter least are set to zero, and stay so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils import prune

from engine.callbacks.base import Callback
from engine.callbacks.training.whole_model import needs_whole_model
from engine.runtime.distributed.world import rank_zero_info
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from engine.module.module import LightningModule
    from engine.runtime.data.types import State
    from engine.trainer.trainer import Trainer

Place = tuple[torch.nn.Module, str]  # a layer and the name of its parameter
_UNSTRUCTURED = {
    "l1_unstructured": prune.L1Unstructured,
    "random_unstructured": prune.RandomUnstructured,
}
_STRUCTURED: dict[str, Callable[..., Any]] = {
    "ln_structured": prune.ln_structured,
    "random_structured": prune.random_structured,
}


class ModelPruning(Callback):
    """Prunes with torch.nn.utils.prune at the end of each training epoch (or validation).

    `pruning_fn`: l1_unstructured, random_unstructured, ln_structured, random_structured, or a
    class of prune.BasePruningMethod. `parameters_to_prune` are (layer, name) pairs; by default all
    `weight` and `bias` of layers. `amount` is a share, a number of values, or a function of the
    epoch. With `use_lottery_ticket_hypothesis` what is left goes back to where it began.
    Checkpoints hold plain weights, unless `make_pruning_permanent` is off.

    Args:
        pruning_fn: `"l1_unstructured"`, `"random_unstructured"`, `"ln_structured"`,
            `"random_structured"`, or a subclass of `torch.nn.utils.prune.BasePruningMethod`.
        parameters_to_prune: pairs of a layer and the name of its parameter. By default all
            parameters called as in `parameter_names`.
        parameter_names: the names to look for. By default `("weight", "bias")`.
        use_global_unstructured: whether all parameters are pruned as one, so that some lose more
            than others. By default True.
        amount: how much of what is left to prune each time: a float is a share, an int a number of
            values, a function gets the epoch's index and returns one of them. By default 0.5.
        apply_pruning: whether to prune in an epoch, or a function of its index. By default True.
        make_pruning_permanent: whether checkpoints, and the module after the fit, have plain
            weights with zeros rather than masks. By default True.
        use_lottery_ticket_hypothesis: whether the values that are left go back to what they were
            when the fit began; or a function of the epoch's index. By default True.
        resample_parameters: whether they go back to newly drawn values instead. By default False.
        pruning_dim: the dimension that structured pruning removes slices of.
        pruning_norm: the order of the norm by which `"ln_structured"` ranks them.
        verbose: 0 for no output, 1 for the whole, 2 for each layer as well. By default 0.
        prune_on_train_epoch_end: whether to prune after training epochs (True) or validations
            (False). By default True.

    Raises:
        MisconfigurationException: the arguments don't fit together, or nothing can be pruned.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (the arguments that scripts already use)
        self,
        pruning_fn: str | type[prune.BasePruningMethod],
        parameters_to_prune: Sequence[Place] = (),
        parameter_names: Sequence[str] = ("weight", "bias"),
        use_global_unstructured: bool = True,
        amount: int | float | Callable[[int], int | float] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        self.pruning_fn = pruning_fn
        self.parameters_to_prune = list(parameters_to_prune or ())
        self.parameter_names = tuple(parameter_names or ("weight", "bias"))
        self.use_global_unstructured = use_global_unstructured
        self.amount = amount
        self.apply_pruning_wanted = apply_pruning
        self.make_pruning_permanent_wanted = make_pruning_permanent
        self.use_lottery_ticket_hypothesis = use_lottery_ticket_hypothesis
        self.resample_parameters = resample_parameters
        self.pruning_dim = pruning_dim
        self.pruning_norm = pruning_norm
        self.verbose = verbose
        self.prune_on_train_epoch_end = prune_on_train_epoch_end
        self._places: list[Place] = []
        self._names: list[str] = []  # of the places, in the module
        self._first: list[torch.Tensor] = []  # values to go back to
        self._resumed: dict[str, dict[str, torch.Tensor]] = {}
        self._check()

    def state_dict(self) -> State:
        """What a resumed run goes on from: files of checkpoints have plain weights."""
        masks = {
            name: getattr(layer, f"{own}_mask").bool()
            for name, (layer, own) in zip(self._names, self._places, strict=True)
            if hasattr(layer, f"{own}_mask")
        }
        first = dict(zip(self._names, self._first, strict=True)) if self._first else {}
        return {"masks": masks, "first": first}

    def load_state_dict(self, state_dict: State) -> None:
        """Go on from an earlier run, once its weights are there."""
        self._resumed = state_dict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find what to prune, and note where it began."""
        needs_whole_model(self, trainer)
        self._places = self.parameters_to_prune or list(self._found(pl_module))
        if self.pruning_fn in _STRUCTURED:  # a bias has no rows
            self._places = [one for one in self._places if getattr(*one).dim() > 1]
        if not self._places:
            raise MisconfigurationException(
                f"ModelPruning: {type(pl_module).__name__} has no layer with a parameter "
                f"{' or '.join(self.parameter_names)}: nothing to prune"
            )
        own = {id(layer): name for name, layer in pl_module.named_modules()}
        self._names = [f"{own.get(id(layer), '')}.{name}" for layer, name in self._places]
        self._first = []
        if self.use_lottery_ticket_hypothesis:
            self._first = [self._beginning(layer, name) for layer, name in self._places]
        self._go_on()

    def on_train_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, unused: object = None
    ) -> None:
        """Prune."""
        if self.prune_on_train_epoch_end:
            self._run(trainer.current_epoch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune, if that is wanted here."""
        is_of_training = trainer.state.fn == "fit" and not trainer.sanity_checking
        if is_of_training and not self.prune_on_train_epoch_end:
            self._run(trainer.current_epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the weights plain again, with their zeros."""
        if self.make_pruning_permanent_wanted:
            self.make_pruning_permanent(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: State
    ) -> None:
        """Save plain weights, with their zeros."""
        if self.make_pruning_permanent_wanted:
            checkpoint["state_dict"] = plain_weights(checkpoint["state_dict"])

    def make_pruning_permanent(self, module: torch.nn.Module) -> None:
        """Take the masks off, and leave the zeros."""
        for layer in module.modules():
            names = [name for name, _ in layer.named_parameters(recurse=False)]
            for name in names:
                if name.endswith("_orig"):
                    with suppress(ValueError):  # one that is called so, and is not pruned
                        prune.remove(layer, name[:-5])  # type: ignore[no-untyped-call]  # torch

    def apply_pruning(self, amount: int | float) -> None:
        """Prune so much of what is not pruned yet."""
        kind = self.pruning_fn
        if self.use_global_unstructured:
            method = _UNSTRUCTURED[kind] if isinstance(kind, str) else kind
            prune.global_unstructured(self._places, pruning_method=method, amount=amount)
            return
        for layer, name in self._places:
            if not isinstance(kind, str):
                kind.apply(layer, name=name, amount=amount)  # type: ignore[no-untyped-call]  # torch
            elif kind in _UNSTRUCTURED:
                _UNSTRUCTURED[kind].apply(layer, name=name, amount=amount)  # type: ignore[no-untyped-call]  # torch
            else:
                extra = {"n": self.pruning_norm} if kind == "ln_structured" else {}
                _STRUCTURED[kind](layer, name=name, amount=amount, dim=self.pruning_dim, **extra)

    # ------------------------------------------------------------------ inside

    def _go_on(self) -> None:
        """Put the masks of an earlier run back, and what was there in its beginning."""
        resumed, self._resumed = self._resumed, {}
        masks, first = resumed.get("masks", {}), resumed.get("first", {})
        for at, (name, (layer, own)) in enumerate(zip(self._names, self._places, strict=True)):
            device = getattr(layer, own).device
            if name in masks:
                prune.custom_from_mask(layer, own, masks[name].to(device))  # type: ignore[no-untyped-call]  # torch
            if name in first and self._first:
                self._first[at] = first[name].to(device)

    def _run(self, epoch: int) -> None:
        amount = self.amount(epoch) if callable(self.amount) else self.amount
        if not _asked(self.apply_pruning_wanted, epoch) or not amount:
            return
        with torch.inference_mode(False):  # masks that are made while validating train on
            self.apply_pruning(amount)
        if self._first and _asked(self.use_lottery_ticket_hypothesis, epoch):
            with torch.no_grad():
                for (layer, name), first in zip(self._places, self._first, strict=True):
                    getattr(layer, f"{name}_orig").copy_(first)
        if self.verbose:
            self._tell(amount)

    def _tell(self, amount: int | float) -> None:
        zeros, total = 0, 0
        for layer, name in self._places:
            mask = getattr(layer, f"{name}_mask", None)
            if mask is None:
                continue
            here = int((mask == 0).sum())
            zeros, total = zeros + here, total + mask.numel()
            if self.verbose > 1:
                share = f"{here}/{mask.numel()}"
                rank_zero_info(f"engine: pruned {share} of {type(layer).__name__}.{name}")
        rank_zero_info(f"engine: pruned by {amount}: {zeros}/{total} values are zero")

    def _found(self, module: torch.nn.Module) -> Sequence[Place]:
        return [
            (layer, name)
            for layer in module.modules()
            for name in self.parameter_names
            if layer is not module and name in dict(layer.named_parameters(recurse=False))
        ]

    def _beginning(self, layer: torch.nn.Module, name: str) -> torch.Tensor:
        value: torch.Tensor = getattr(layer, name).detach().clone()
        reset = getattr(layer, "reset_parameters", None)
        if self.resample_parameters and callable(reset):
            kept = {key: parameter.detach().clone() for key, parameter in layer.named_parameters()}
            reset()
            value = getattr(layer, name).detach().clone()
            with torch.no_grad():
                for key, parameter in layer.named_parameters():
                    parameter.copy_(kept[key])
        return value

    def _check(self) -> None:
        kind, structured = self.pruning_fn, False
        if isinstance(kind, str):
            structured = kind in _STRUCTURED
            if not structured and kind not in _UNSTRUCTURED:
                known = ", ".join((*_UNSTRUCTURED, *_STRUCTURED))
                raise MisconfigurationException(f"pruning_fn={kind!r}: there are {known}")
        elif not (isinstance(kind, type) and issubclass(kind, prune.BasePruningMethod)):
            raise MisconfigurationException(
                "pruning_fn is a name or a class of torch.nn.utils.prune.BasePruningMethod"
            )
        if structured and self.use_global_unstructured:
            raise MisconfigurationException(
                f"{kind} prunes whole rows of a layer: give use_global_unstructured=False"
            )
        if structured and self.pruning_dim is None:
            raise MisconfigurationException(f"{kind} needs pruning_dim, the dimension of the rows")
        if kind == "ln_structured" and self.pruning_norm is None:
            raise MisconfigurationException("ln_structured needs pruning_norm, the n of the norm")


def plain_weights(state: State) -> dict[str, Any]:
    """A module's state with each pruned weight in the place of its origin and mask."""
    plain: dict[str, Any] = {}
    for name, value in state.items():
        if name.endswith("_mask") and f"{name[:-5]}_orig" in state:
            continue
        if name.endswith("_orig") and f"{name[:-5]}_mask" in state:
            name, value = name[:-5], value * state[f"{name[:-5]}_mask"]
        plain[name] = value
    return plain


def _asked(wanted: bool | Callable[[int], bool], epoch: int) -> bool:
    return bool(wanted(epoch)) if callable(wanted) else bool(wanted)
