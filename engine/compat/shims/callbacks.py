"""Callbacks of Lightning that are not here: each says what to use instead."""

from __future__ import annotations

from typing import Any

from engine.callbacks.base import Callback
from engine.runtime.errors import MisconfigurationException


class XLAStatsMonitor(Callback):
    """Of TPUs, which are not supported."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise MisconfigurationException(
            "XLAStatsMonitor is for TPUs, which are not supported; DeviceStatsMonitor logs what "
            "a GPU or the processor is busy with"
        )


class QuantizationAwareTraining(Callback):
    """Of a part of torch that torch has given up."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise MisconfigurationException(
            "QuantizationAwareTraining used torch.quantization, which torch has given up: prepare "
            "the model with torchao (torchao.quantization) in the module's __init__ instead"
        )
