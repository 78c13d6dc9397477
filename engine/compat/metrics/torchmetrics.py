"""Finding a metric of torchmetrics by the name that it had in Lightning 1.x."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable
from typing import Any

# The old name, where it is another today.
FUNCTIONS = {
    "f1": "f1_score",
    "fbeta": "fbeta_score",
    "hinge": "hinge_loss",
    "iou": "jaccard_index",
    "psnr": "peak_signal_noise_ratio",
    "r2score": "r2_score",
    "ssim": "structural_similarity_index_measure",
}
CLASSES = {
    "ConfusionMatrix": "ConfusionMatrix",
    "F1": "F1Score",
    "FBeta": "FBetaScore",
    "Hinge": "HingeLoss",
    "IoU": "JaccardIndex",
    "PSNR": "PeakSignalNoiseRatio",
    "SSIM": "StructuralSimilarityIndexMeasure",
}


def from_torchmetrics(module: str, name: str, asked: str) -> Any:
    """Attribute `name` of torchmetrics; an error that says what to install where it is missing."""
    if name.startswith("__"):
        raise AttributeError(asked)
    if importlib.util.find_spec("torchmetrics") is None:
        raise AttributeError(
            f"engine.metrics: {asked!r} is a metric of torchmetrics, which is not installed: "
            "pip install torchmetrics"
        )
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        raise AttributeError(f"neither engine.metrics nor {module} has {asked!r}")
    return found


def with_task(metric: Callable[..., Any]) -> list[str]:
    """The parameters of a metric: one of classification has a `task`."""
    made = metric.__new__ if isinstance(metric, type) else metric
    try:
        return list(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        return []
