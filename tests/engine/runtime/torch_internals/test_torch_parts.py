"""What torch does not promise: each part that the engine uses is asked for by its name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.utils.prune
from torch.utils.data import DataLoader

from engine.runtime.distributed import gloo_threads
from engine.runtime.torch_internals import torch_parts
from engine.runtime.torch_internals.late_dynamo import _ddp_is_optimized
from tests.support.gloo import threads_have_names

ENGINE = Path(torch_parts.__file__).parents[2]


def takes(function: Any, *names: str) -> bool:
    """Whether a function can be called with these arguments by name."""
    inspect.signature(function).bind_partial(**dict.fromkeys(names))
    return True


def store_from_socket() -> bool:
    import socket

    from torch.distributed import TCPStore

    listening = socket.create_server(("127.0.0.1", 0))
    port, fd = listening.getsockname()[1], listening.detach()
    more = {"is_master": True, "wait_for_workers": False, "master_listen_fd": fd}
    store = TCPStore("127.0.0.1", port, **more)
    store.set("key", "value")
    return store.get("key") == b"value"


def default_store_is_one() -> bool:
    from torch.distributed.distributed_c10d import _get_default_store

    return takes(_get_default_store)


def loader_of(num_workers: int = 0) -> DataLoader[Any]:
    return DataLoader([1, 2], num_workers=num_workers, persistent_workers=num_workers > 0)


def loader_keeps_its_iterator() -> bool:
    loader = loader_of(1)
    first = iter(loader)
    is_kept = loader._iterator is first
    first._shutdown_workers()
    torch_parts.forget_iterator(loader)
    second = iter(loader)
    second._shutdown_workers()
    return is_kept and second is not first


def loader_takes_an_order() -> bool:
    loader = loader_of()
    torch_parts.set_order(loader, "batch_sampler", [[1], [0]])
    return [batch.item() for batch in loader] == [2, 1]


def workers_end() -> bool:
    iterator = iter(loader_of(1))
    (process,) = torch_parts.worker_processes(iterator)
    was_alive = process.is_alive()
    iterator._shutdown_workers()
    return was_alive and not process.is_alive()


def compiled() -> Any:
    return torch.compile(torch.nn.Linear(1, 1), backend="eager")


def summary_writer_has_a_file(folder: Path) -> bool:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    try:
        return takes(torch_parts.file_writer(writer).add_summary, "summary", "global_step")
    finally:
        writer.close()


def hparams_are_summaries() -> bool:
    from torch.utils.tensorboard.summary import hparams

    return len(hparams({"a": 1}, {"b": 2.0})) == 3


def all_gather_with_gradients() -> bool:
    from torch.distributed.nn.functional import all_gather

    return takes(all_gather, "tensor", "group")


def compiler() -> Any:
    import torch._dynamo

    return torch._dynamo


def stand_in_answers_as_the_compiler() -> bool:
    real = compiler()
    ask = getattr(real.utils, "get_optimize_ddp_mode", None) or real.config._get_optimize_ddp_mode
    return _ddp_is_optimized() and ask() == "ddp_optimizer"


_LOADER = "torch.utils.data.dataloader._MultiProcessingDataLoaderIter"
_NORM = torch.nn.BatchNorm1d(1)
_DDP = torch.nn.parallel.DistributedDataParallel


ASKS: dict[str, Callable[[], bool]] = {
    "torch.distributed.distributed_c10d._get_default_store()": default_store_is_one,
    "torch.nn.modules.batchnorm._BatchNorm": lambda: isinstance(_NORM, torch_parts.BatchNorm),
    "torch.nn.modules.batchnorm._BatchNorm._check_input_dim(input)": lambda: takes(
        _NORM._check_input_dim, "input"
    ),
    "torch.nn.parallel.DistributedDataParallel.require_backward_grad_sync": lambda: (
        "self.require_backward_grad_sync" in inspect.getsource(_DDP.no_sync)
    ),
    "torch._dynamo.OptimizedModule._orig_mod": lambda: isinstance(
        torch_parts.without_compiler(compiled()), torch.nn.Linear
    ),
    "torch._dynamo.OptimizedModule.dynamo_ctx": lambda: callable(
        torch_parts.compiler_of(compiled(), None)
    ),
    "torch.utils.data.DataLoader._iterator": loader_keeps_its_iterator,
    "torch.utils.data.DataLoader.__dict__['sampler', 'batch_sampler']": loader_takes_an_order,
    f"{_LOADER}._shutdown_workers()": workers_end,
    f"{_LOADER}._workers": workers_end,
    "torch.utils.tensorboard.summary.hparams(hparam_dict, metric_dict)": hparams_are_summaries,
    "torch.distributed.ProcessGroup._device_types": lambda: isinstance(
        torch.distributed.ProcessGroup._device_types, property
    ),
    "torch.distributed.nn.functional.all_gather(tensor, group)": all_gather_with_gradients,
    "threads called pt_gloo_runloop": lambda: threads_have_names(gloo_threads._seen),
    "torch.distributed.TCPStore(master_listen_fd)": store_from_socket,
    "torch._dynamo.disable(fn, recursive)": lambda: takes(compiler().disable, "fn", "recursive"),
    "torch.nn.Module._parameters, _modules": lambda: (
        {"_parameters", "_modules"} <= vars(torch.nn.Module()).keys()
    ),
    "torch._dynamo.graph_break()": lambda: takes(compiler().graph_break),
    "torch._dynamo.utils.get_optimize_ddp_mode()": stand_in_answers_as_the_compiler,
    "torch._dynamo.trace_rules.clear_lru_cache()": lambda: takes(
        compiler().trace_rules.clear_lru_cache
    ),
}


@pytest.mark.parametrize("name", torch_parts.PARTS)
def test_torch_has_the_part(name: str, tmp_path: Path) -> None:
    """This torch has what the engine uses of it beyond its promises, and it does what it did."""
    ask = ASKS.get(name) or (lambda: summary_writer_has_a_file(tmp_path))
    try:
        problem = None if ask() else "is another thing now"
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"

    assert problem is None, (
        f"torch {torch.__version__}, {name}: {problem}. Without it: " + (torch_parts.PARTS[name])
    )


def _words(tree: ast.AST) -> set[str]:
    """The names of another's parts: attributes that are read, imports, and words in quotes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found |= {*str(node.module).split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value.rstrip("."))
    return {word for word in found if word.startswith("_") and not word.startswith("__")}


def _own_names(tree: ast.AST) -> set[str]:
    """What a file names itself: functions, classes, variables, and attributes of `self`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def test_private_parts_are_used_in_one_file() -> None:
    """A private name in another file of the engine is the engine's own, or Python's."""
    trees = {path: ast.parse(path.read_text()) for path in ENGINE.rglob("*.py")}
    own = set().union(*map(_own_names, trees.values()))
    torchs = {
        *dir(torch.nn.Module()),
        *dir(torch.optim.SGD([torch.zeros(1)])),
        *dir(torch.amp.GradScaler("cpu", enabled=False)),
        *dir(loader_of()),
        *dir(torch.utils.data.dataloader._MultiProcessingDataLoaderIter),
        *dir(torch.nn.utils.prune.BasePruningMethod),
        *dir(torch.distributed.distributed_c10d),
        *("_orig_mod", "_workers", "_tensor_name", "_get_file_writer", "_dynamo", "_C", "_lazy"),
    }
    apart = {("late_dynamo.py", "_dynamo"), ("batchnorm.py", "_check_input_dim")}
    found = {
        (path.name, word)
        for path, tree in trees.items()
        for word in _words(tree) & torchs - (own - {"_dynamo"})
        if path.name != "torch_parts.py"
    }

    assert found <= apart
