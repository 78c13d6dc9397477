"""`_X_AVAILABLE` and `_TORCH_GREATER_EQUAL_1_7`: answered from what is installed."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib.machinery import PathFinder
from typing import Any

# Where the flag's name is not the library's.
_LIBRARIES = {
    "APEX": "apex",
    "COMET": "comet_ml",
    "HYDRA_EXPERIMENTAL": "hydra.experimental",
    "JSONARGPARSE": "jsonargparse",
    "OMEGACONF": "omegaconf",
    "POPTORCH": "poptorch",
    "PYCOMPILE": "torch",
    "TEST_TUBE": "test_tube",
    "TORCH_QUANTIZE": "torch.ao.quantization",
    "TORCHTEXT_LEGACY": "torchtext.legacy",
    "XLA": "torch_xla",
}
# Hardware, or ways of training, rather than libraries.
_NEVER = {"APEX", "FAIRSCALE_FULLY_SHARDED", "FAULT_TOLERANT", "HPU", "IPU", "MPS", "POPTORCH"}
_NEVER |= {"TPU", "XLA"}
_ALWAYS = {"NATIVE_AMP", "TORCH_CUDA", "TORCH_DISTRIBUTED"}


def module_available(path: str) -> bool:
    """Whether a module can be imported; it is not."""
    try:
        return path in sys.modules or importlib.util.find_spec(path) is not None
    except (ImportError, ValueError):
        return False


_module_available = module_available
_package_available = module_available


def compare_version(package: str, op: Any, version: str, use_base_version: bool = False) -> bool:
    """Whether an installed package's version compares so; False where it is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return bool(op(_numbers(installed(package)), _numbers(version)))
    except PackageNotFoundError:
        return False


_compare_version = compare_version


def _fault_tolerant_training() -> bool:
    """Whether an experiment of 1.5 is on: resuming needs none here."""
    return False


def __getattr__(name: str) -> Any:
    found = re.fullmatch(r"_TORCH_(GREATER_EQUAL|GREATER|LOWER)_(\d+(?:_\d+)*)(?:_DEV.*)?", name)
    if found:
        import torch

        ours, asked = _numbers(torch.__version__), _numbers(found[2].replace("_", "."))
        return ours < asked if found[1] == "LOWER" else ours >= asked
    found = re.fullmatch(r"_?([A-Z]\w*?)_AVAILABLE", name)
    if found:
        word = found[1]
        if word in _ALWAYS or word in _NEVER:
            return word in _ALWAYS
        if word == "BOLTS":  # an installed one; of ours only the callbacks are here
            return PathFinder.find_spec("pl_bolts") is not None
        return module_available(_LIBRARIES.get(word, word.lower()))
    if name in ("_IS_WINDOWS", "_IS_INTERACTIVE"):
        return sys.platform == "win32" if name == "_IS_WINDOWS" else hasattr(sys, "ps1")
    raise AttributeError(f"there is no {name!r} here, where the engine stands in for Lightning")


def _numbers(version: str) -> tuple[int, ...]:
    """`1.13.0+cu118` as (1, 13): what follows the second number decides nothing."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
