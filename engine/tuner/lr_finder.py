"""What a search for a learning rate found: losses by learning rate, and what they suggest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MODES = ("exponential", "linear")


def learning_rates(mode: str, lowest: float, highest: float, count: int) -> list[float]:
    """`count` learning rates from the lowest to the highest."""
    shares = [step / max(count - 1, 1) for step in range(count)]
    if mode == "linear":
        return [lowest + (highest - lowest) * share for share in shares]
    return [float(lowest * (highest / lowest) ** share) for share in shares]


class LRFinder:
    """The results of `lr_find`: `results["lr"]` and `results["loss"]`, the smoothed losses."""

    def __init__(self, mode: str, lr_min: float, lr_max: float, num_training: int) -> None:
        self.mode = mode
        self.lr_min = lr_min
        self.lr_max = lr_max
        self.num_training = num_training
        self.results: dict[str, list[float]] = {"lr": [], "loss": []}
        self._best_index: int | None = None

    def suggestion(self, skip_begin: int = 10, skip_end: int = 1) -> float | None:
        """The learning rate at which the loss falls steepest; None where there are too few.

        The first and last losses are left out: at first nothing is learned, at last too much.
        """
        losses = self.results["loss"]
        places = [i for i in range(skip_begin, len(losses) - skip_end) if math.isfinite(losses[i])]
        if len(places) < 2:
            self._best_index = None
            return None
        steepest = int(np.gradient([losses[i] for i in places]).argmin())
        self._best_index = places[steepest]
        return self.results["lr"][self._best_index]

    def plot(self, suggest: bool = False, show: bool = False, ax: Any = None) -> Any:
        """A figure of the losses by learning rate; `suggest` marks the suggestion.

        It wants matplotlib.
        """
        try:
            import matplotlib.pyplot as plt  # type: ignore[import-not-found]  # only for plots
        except ImportError as error:
            raise ModuleNotFoundError(
                "plotting a learning rate search needs matplotlib: pip install matplotlib"
            ) from error
        figure, ax = plt.subplots() if ax is None else (ax.figure, ax)
        ax.plot(self.results["lr"], self.results["loss"])
        if self.mode == "exponential":
            ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        if suggest and self.suggestion() is not None:
            assert self._best_index is not None
            best = self._best_index
            ax.plot(self.results["lr"][best], self.results["loss"][best], "ro", markersize=8)
        if show:
            plt.show()
        return figure
