"""LightningLite: a loop of one's own, and of the engine only devices, ranks and precision.

class Lite(LightningLite):
    def run(self):
        model, optimizer = self.setup(model, optimizer)
        loader = self.setup_dataloaders(loader)
        for batch in loader:
            ...
            self.backward(loss)
            optimizer.step()

Lite(devices=2, accelerator="cpu", strategy="ddp").run()
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from engine.compat.arguments import parse
from engine.compat.legacy.lite_parts import LiteDataLoader, LiteModule, LiteOptimizer
from engine.runtime.data.samplers import for_training, move
from engine.runtime.distributed import world as distributed
from engine.runtime.distributed.world import read_world
from engine.runtime.errors import MisconfigurationException
from engine.runtime.seed import fresh_seed, mix, seed_everything, share_random_state
from engine.runtime.storage import checkpoint as files
from engine.strategies.choose import choose_strategy, join_process_group
from engine.strategies.precision import make_precision


class LightningLite:
    """Override `run`; the arguments are those of the Trainer.

    With several devices the other ranks of this machine are started when `run` begins, as by a
    Trainer: they are this script once more. Under a launcher its world counts.
    """

    def __init__(
        self,
        accelerator: Any = None,
        strategy: Any = None,
        devices: Any = None,
        num_nodes: int = 1,
        precision: int | str = 32,
        plugins: Any = None,
        gpus: Any = None,
        tpu_cores: Any = None,
    ) -> None:
        given = {
            **{"accelerator": accelerator, "strategy": strategy, "devices": devices},
            **{"num_nodes": num_nodes, "precision": precision, "plugins": plugins},
            **{"gpus": gpus, "tpu_cores": tpu_cores},
        }
        try:
            said = {name: value for name, value in given.items() if value is not None}
            self._hardware = parse(said).hardware
            self._strategy = choose_strategy(self._hardware, read_world())
        except MisconfigurationException as error:
            name = type(self).__name__
            raise MisconfigurationException(str(error).replace("Trainer(", f"{name}(")) from None
        self._precision = make_precision(self._hardware.precision, self._strategy.root_device)
        self._scale_is_old = False  # a step has used it: time to bring it up to date
        self._unscaled: set[int] = set()  # optimizers whose gradients are, since then
        own = type(self).run
        self.run = partial(self._run, own)  # type: ignore[method-assign]  # the user's, in its world

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The program; what it returns, the call returns."""
        raise MisconfigurationException(f"{type(self).__name__} has no `run`: put your loop there")

    def _run(self, own: Any, *args: Any, **kwargs: Any) -> Any:
        self._strategy = join_process_group(self._strategy, self._hardware)
        self._precision = make_precision(self._hardware.precision, self.device)
        share_random_state()
        return own(self, *args, **kwargs)

    # ------------------------------------------------------------------ who this process is

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._strategy.root_device

    @property
    def global_rank(self) -> int:
        """The rank of this process."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """The rank of this process on its node."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this node."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._strategy.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the process that writes."""
        return self._strategy.is_global_zero

    # ------------------------------------------------------------------ to be called first

    def setup(self, model: torch.nn.Module, *optimizers: Any, move_to_device: bool = True) -> Any:
        """The model on its device, with gradients averaged over the ranks, and its optimizers.

        Without optimizers the model alone, else a list with the model first.
        """
        for part in (model, *optimizers):
            if isinstance(part, (LiteModule, LiteOptimizer)):
                raise MisconfigurationException("`setup` was given something that it returned")
        if move_to_device:
            model.to(self.device)
        self._precision.convert(model)
        wrapped = LiteModule(model, self._strategy.around, self._precision)
        steppers = [
            LiteOptimizer(optimizer, partial(self._step, optimizer)) for optimizer in optimizers
        ]
        return [wrapped, *steppers] if steppers else wrapped

    def setup_dataloaders(
        self, *dataloaders: Any, replace_sampler: bool = True, move_to_device: bool = True
    ) -> Any:
        """Loaders whose samples are divided among the ranks, and whose batches are on the device.

        One rank reads what the loader gives, in its order. `replace_sampler=False` leaves the
        division to the loader's own sampler.
        """
        for loader in dataloaders:
            if not isinstance(loader, DataLoader):
                raise MisconfigurationException(
                    f"setup_dataloaders takes DataLoaders of torch, each once, and was given "
                    f"{type(loader).__name__}"
                )
        found = [self._loader(one, replace_sampler, move_to_device) for one in dataloaders]
        return found[0] if len(found) == 1 else found

    def _loader(self, loader: Any, replaces: bool, moves: bool) -> LiteDataLoader:
        seed, world = self._strategy.broadcast(fresh_seed()), self._strategy.world
        device, order = self.device if moves else None, None
        if world.world_size > 1:
            divided = for_training(loader, seed, world, replaces)
            order = None if divided is loader else (seed, world.rank)
            loader = divided
            if order is None:  # workers must not draw on all ranks what they draw on this one
                loader = copy.copy(loader)
                loader.generator = torch.Generator().manual_seed(mix(seed, world.rank + 1))
        return LiteDataLoader(loader, device, self._precision.dtype, order)

    # ------------------------------------------------------------------ in the loop

    def backward(self, tensor: torch.Tensor, *args: Any, model: Any = None, **kwargs: Any) -> None:
        """In place of `tensor.backward(...)`: in 16 bits the loss is scaled."""
        self._update_scale()
        scaler = self._precision.scaler
        scaled = tensor if scaler is None else scaler.scale(tensor)
        scaled.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch

    def _step(self, optimizer: Any, closure: Any = None, **kwargs: Any) -> Any:
        scaler = self._precision.scaler
        if scaler is None:
            return (
                optimizer.step(**kwargs) if closure is None else optimizer.step(closure, **kwargs)
            )
        value = None if closure is None else closure()  # the scale must know the gradients
        scaler.step(optimizer, **kwargs)
        self._scale_is_old = True
        return value

    def _update_scale(self) -> None:
        """Once all optimizers have stepped with the scale that their gradients have."""
        if self._scale_is_old:
            assert self._precision.scaler is not None
            self._precision.scaler.update()
            self._scale_is_old = False
            self._unscaled.clear()

    def clip_gradients(
        self,
        model: Any,
        optimizer: Any,
        clip_val: float | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
    ) -> torch.Tensor | None:
        """Clip an optimizer's gradients by value or by norm, whose value before is returned."""
        inner, scaler = getattr(optimizer, "optimizer", optimizer), self._precision.scaler
        if scaler is not None and id(inner) not in self._unscaled:
            self._unscaled.add(id(inner))
            scaler.unscale_(inner)
        parameters = [p for group in inner.param_groups for p in group["params"]]
        if clip_val is not None:
            torch.nn.utils.clip_grad_value_(parameters, clip_val)
        if max_norm is None:
            return None
        return torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

    def no_backward_sync(
        self, model: LiteModule, enabled: bool = True
    ) -> AbstractContextManager[object]:
        """Within, gradients of the ranks stay apart: for all but the last batch of a window."""
        return model.without_averaging(enabled)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of the precision, for what is computed outside of the model."""
        return self._precision.context()

    def to_device(self, obj: Any) -> Any:
        """A module, a tensor or a collection of tensors on this process's device."""
        return obj.to(self.device) if isinstance(obj, torch.nn.Module) else move(obj, self.device)

    # ------------------------------------------------------------------ among the ranks

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print, from one process only."""
        if self.is_global_zero:
            print(*args, **kwargs)  # noqa: T201  (printing is what it is for)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""
        self._strategy.barrier(name)

    def all_gather(self, data: Any, group: Any = None, sync_grads: bool = False) -> Any:
        """`data` with each tensor of all ranks stacked in rank order; alone, as it is."""
        return self._strategy.all_gather(data, group, sync_grads)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """The object that rank `src` has."""
        return distributed.broadcast(obj, src)

    # ------------------------------------------------------------------ files and seeds

    def save(self, content: Mapping[str, Any], filepath: str | os.PathLike[str]) -> None:
        """Write a dict to a file, whole or not at all, from rank zero."""
        if self.is_global_zero:
            files.note_own(files.write(dict(content), filepath))

    def load(self, filepath: str | os.PathLike[str], weights_only: bool = True) -> Any:
        """Read what `save` wrote, onto the CPU.

        `weights_only=False` reads more than plain data: only if you trust who wrote it.
        """
        return files.read(filepath, weights_only=weights_only)

    @staticmethod
    def seed_everything(seed: int | None = None, workers: bool = True) -> int:
        """Seed python, numpy, torch and its GPUs; returns the seed."""
        return seed_everything(seed, workers)
