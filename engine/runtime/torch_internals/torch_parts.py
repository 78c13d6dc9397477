"""What the engine takes of torch that torch does not promise: all of it is here, or named here.

`PARTS` says what happens when a new torch has one of them no longer. The test of this file asks
the torch that it runs with for each, so that it is a name that fails, not a training.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

if TYPE_CHECKING:
    from engine.runtime.data.types import Loader

__all__ = ["BatchNorm"]

ITERATOR = "_iterator"  # where a DataLoader keeps its persistent workers
PARTS_OF_MODULE = ("_parameters", "_modules")  # a module's attributes that hold other things' state

# What is private or undocumented, and what a torch without it would lead to.
PARTS = {
    "torch.distributed.distributed_c10d._get_default_store()": "ranks can't agree on preemption, "
    "on files and on batches without loss: those calls end with an ImportError",
    "torch.distributed.ProcessGroup._device_types": "ranks whose process group has no backend for "
    "CPUs can't send each other numbers and text",
    "torch.nn.modules.batchnorm._BatchNorm": "sync_batchnorm, averaged weights and finetuning "
    "callbacks can't tell which layers are batch norm: they end with an ImportError",
    "torch.nn.modules.batchnorm._BatchNorm._check_input_dim(input)": "sync_batchnorm on CPUs "
    "ends with an AttributeError in the first step",
    "torch.nn.parallel.DistributedDataParallel.require_backward_grad_sync": "DDP's steps end with "
    "an AttributeError",
    "torch._dynamo.OptimizedModule._orig_mod": "what torch.compile wrapped is no LightningModule "
    "and is refused",
    "torch._dynamo.OptimizedModule.dynamo_ctx": "the options given to torch.compile are lost, the "
    "steps are compiled with its defaults",
    "torch.nn.Module._parameters, _modules": "a rank that only keeps step in an evaluation keeps "
    "what its step did to the module",
    "torch.utils.data.DataLoader._iterator": "a loader with persistent workers that an error "
    "interrupted could not be used again",
    "torch.utils.data.DataLoader.__dict__['sampler', 'batch_sampler']": "ranks can't be given "
    "their shares of a DataLoader's samples",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._shutdown_workers()": "workers end "
    "when Python forgets their iterator, which may be late",
    "torch.utils.data.dataloader._MultiProcessingDataLoaderIter._workers": "workers that ignore "
    "SIGTERM are waited for at the end",
    "torch.utils.tensorboard.SummaryWriter._get_file_writer()": "TensorBoardLogger ends with an "
    "AttributeError at its first row",
    "torch.utils.tensorboard.summary.hparams(hparam_dict, metric_dict)": "TensorBoardLogger can't "
    "write hyper-parameters: an ImportError",
    "torch.distributed.nn.functional.all_gather(tensor, group)": "all_gather(sync_grads=True) ends "
    "with an ImportError",
    "threads called pt_gloo_runloop": "ranks on CPUs may hang or abort as they end: "
    "gloo_threads.py",
    "torch.distributed.TCPStore(master_listen_fd)": "Trainer(devices=n) can't start its ranks",
    "torch._dynamo.disable(fn, recursive)": "the stand-in for the compiler brings the "
    "real one: a first step that takes a second longer",
    "torch._dynamo.graph_break()": "as above",
    "torch._dynamo.utils.get_optimize_ddp_mode()": "as above",
    "torch._dynamo.trace_rules.clear_lru_cache()": "as above",
}


def default_store() -> Any:
    """The store that the ranks of the process group met at."""
    from torch.distributed.distributed_c10d import _get_default_store

    return _get_default_store()


def device_for_messages() -> torch.device:
    """Where tensors lie that the process group can send: on the CPU if it can from there."""
    group = torch.distributed.group.WORLD
    types = {device.type for device in getattr(group, "_device_types", [])}
    if "cpu" in types or not types:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def without_compiler(model: Any) -> Any:
    """The module that `torch.compile(module)` is around; any other is itself."""
    return getattr(model, "_orig_mod", model)


COMPILED_PREFIX = "_orig_mod."  # before the names of a compiled part's weights


def compiler_of(model: Any, default: Any) -> Any:
    """What compiled a module, with the options that were given."""
    return getattr(model, "dynamo_ctx", default)


def set_order(loader: Loader, name: str, order: Any) -> None:
    """Set `sampler` or `batch_sampler` of a DataLoader that has none of its workers yet."""
    loader.__dict__[name] = order  # from below: it refuses a new one after it was made
    forget_iterator(loader)


def forget_iterator(loader: Loader) -> None:
    """Let a DataLoader with persistent workers make new ones next time."""
    loader.__dict__[ITERATOR] = None


def worker_processes(iterator: Any) -> list[Any]:
    """The processes of a DataLoader's iterator."""
    return list(getattr(iterator, "_workers", []))


def shutdown_of(iterator: Any) -> Any:
    """What ends the workers of a DataLoader's iterator at once; None if it has none."""
    return getattr(iterator, "_shutdown_workers", None)


def file_writer(writer: Any) -> Any:
    """What a SummaryWriter writes events with."""
    return writer._get_file_writer()


def store_on(host: str, port: int, fd: int) -> Any:
    """A TCPStore that serves a listening socket, with a client of its own to `host` and `port`."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch exports it

    options: Any = {"is_master": True, "wait_for_workers": False}
    try:
        return TCPStore(host, port, master_listen_fd=os.dup(fd), **options)
    except RuntimeError:
        # In torch 2.4 and 2.6 the newer of two servers, the default, takes no socket that listens.
        # The older one speaks the same language.
        return TCPStore(host, port, master_listen_fd=os.dup(fd), use_libuv=False, **options)
