"""Parts of progress bars that programs with a bar of their own import."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


def convert_inf(value: int | float | None) -> int | float | None:
    """None in the place of infinity."""
    return None if value is None or math.isinf(value) or math.isnan(value) else value


def get_standard_metrics(trainer: Any, pl_module: Any = None) -> dict[str, Any]:
    """What a bar shows beside the metrics: the run's number."""
    version = None if trainer.logger is None else trainer.logger.version
    return {} if version is None else {"v_num": version}


def reset(bar: Any, total: int | float | None = None) -> None:
    """Let a tqdm bar begin anew."""
    bar.reset(total=convert_inf(total))


def _update_n(bar: Any, value: int) -> None:
    """Let a tqdm bar show a number of steps."""
    if not bar.disable:
        bar.n = value
        bar.refresh()


@dataclass
class RichProgressBarTheme:
    """Colours: kept for programs that set them; the engine's bar has none."""

    description: str = ""
    progress_bar: str = ""
    progress_bar_finished: str = ""
    progress_bar_pulse: str = ""
    batch_progress: str = ""
    time: str = ""
    processing_speed: str = ""
    metrics: str = ""
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


def __getattr__(name: str) -> Any:
    if name != "tqdm":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]  # the user's
    except ModuleNotFoundError:
        raise AttributeError(
            "tqdm is not installed, and the engine's bars don't use it: pip install tqdm"
        ) from None
    return tqdm
