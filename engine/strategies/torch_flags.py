"""Switches of torch that hold for the whole process: which algorithms it may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.runtime.settings import HardwareSettings

Values = tuple[bool, bool, bool]  # only deterministic algorithms, only warn of others, benchmark


class Switches:
    """Sets them as a Trainer wants them; what one has set is no concern of the next."""

    def __init__(self) -> None:
        self._runs = 0  # that are going on, one within the other
        self._before: Values | None = None  # what they were when no Trainer had touched them
        self._made: Values | None = None  # what a Trainer made of them

    def set_for(self, hardware: HardwareSettings) -> None:
        """Set them for a Trainer that was made; one that is made within a run waits for its own."""
        if not self._runs:
            self._set(hardware)

    @contextmanager
    def during(self, hardware: HardwareSettings) -> Iterator[None]:
        """Set them for a run. They stay so after it, or are given back to the run around it."""
        kept = (self._before, self._made, _now())
        self._set(hardware)
        self._runs += 1
        try:
            yield
        finally:
            self._runs -= 1
            if self._runs:
                self._before, self._made = kept[:2]
                _use(kept[2])

    def _set(self, hardware: HardwareSettings) -> None:
        before = present = _now()
        if self._before is not None and self._made is not None:
            # One that is not as it was made has been set by the program, which counts.
            three = zip(self._before, self._made, present, strict=True)
            was, warned, looked = (b if now == made else now for b, made, now in three)
            before = (was, warned, looked)
        only, warn = before[:2]
        if hardware.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            only, warn = True, hardware.deterministic == "warn"
        benchmark = before[2] if hardware.benchmark is None else hardware.benchmark
        self._before, self._made = before, (only, warn, benchmark)
        _use(self._made)


def _now() -> Values:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
    )


def _use(values: Values) -> None:
    only, warn, benchmark = values
    if _now()[:2] != (only, warn):
        torch.use_deterministic_algorithms(only, warn_only=warn)
    torch.backends.cudnn.benchmark = benchmark


switches = Switches()
