"""Metrics as functions: `FM.accuracy(logits, target)`.

Other functions are those of torchmetrics. Where that one wants a `task` and a number of classes,
as 1.x did not, both are read off the arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from engine.compat.metrics.torchmetrics import FUNCTIONS, from_torchmetrics, with_task

# Averaged over classes today, over samples in 1.x.
_WAS_MICRO = {"precision", "recall", "f1", "f1_score", "fbeta", "fbeta_score", "specificity"}


def accuracy(
    preds: torch.Tensor,
    target: torch.Tensor,
    threshold: float = 0.5,
    top_k: int | None = None,
    **options: Any,
) -> torch.Tensor:
    """The share of predictions that are right.

    `preds` holds scores of classes (N, C, ...), classes, or scores of two classes in the shape of
    `target`, of which those above `threshold` count as 1 (logits are taken through a sigmoid).
    Further options of torchmetrics, such as `average="macro"`, are handed to it.
    """
    if options.pop("average", "micro") != "micro" or set(options) - {"task", "num_classes"}:
        raise TypeError(
            "accuracy here is the share of all samples; for other averages use "
            "torchmetrics.functional.accuracy"
        )
    correct, total = count_correct(preds, target, threshold, top_k)
    return correct / total


def count_correct(
    preds: torch.Tensor, target: torch.Tensor, threshold: float = 0.5, top_k: int | None = None
) -> tuple[torch.Tensor, int]:
    """How many predictions are right, and of how many."""
    if preds.ndim == target.ndim + 1:
        if top_k is not None and top_k > 1:
            best = preds.topk(top_k, dim=1).indices
            right = (best == target.unsqueeze(1)).any(dim=1)
        else:
            right = preds.argmax(dim=1) == target
    elif preds.shape != target.shape:
        raise ValueError(
            f"accuracy: predictions {tuple(preds.shape)} do not fit the target "
            f"{tuple(target.shape)}; give scores (N, C, ...) with classes (N, ...), or two of one "
            "shape"
        )
    elif top_k is not None and top_k > 1:
        raise ValueError("accuracy: top_k needs the scores of all classes (N, C, ...)")
    else:
        right = _decided(preds, threshold) == target
    return right.sum(), right.numel()


def _decided(preds: torch.Tensor, threshold: float) -> torch.Tensor:
    if not preds.is_floating_point():
        return preds
    are_logits = ((preds < 0) | (preds > 1)).any()  # not looked at: that would wait for the device
    return (torch.where(are_logits, preds.sigmoid(), preds) >= threshold).long()


def __getattr__(name: str) -> Any:
    found = from_torchmetrics("torchmetrics.functional", FUNCTIONS.get(name, name), name)
    return _without_task(found, name) if "task" in with_task(found) else found


def _without_task(metric: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A classification function that may be called as in 1.x, without saying which task it is."""

    def call(preds: torch.Tensor, target: torch.Tensor, *args: Any, **options: Any) -> Any:
        if "task" in options or (args and args[0] in ("binary", "multiclass", "multilabel")):
            return metric(preds, target, *args, **options)
        for value in args:
            options[_name_of(value, name)] = value
        options.update(task_of(preds, target, options.pop("num_classes", None)))
        if name in _WAS_MICRO and options["task"] != "binary":
            options.setdefault("average", "micro")
        return metric(preds, target, **options)

    call.__name__ = name
    call.__doc__ = metric.__doc__
    return call


def _name_of(value: Any, name: str) -> str:
    """What a third positional argument meant in 1.x."""
    if isinstance(value, str):
        return "average"
    return "beta" if name.startswith("fbeta") else "num_classes"


def task_of(preds: torch.Tensor, target: torch.Tensor, num_classes: int | None) -> dict[str, Any]:
    """The task, and the number that belongs to it, which the shapes and values mean."""
    if preds.ndim == target.ndim + 1:
        return {"task": "multiclass", "num_classes": num_classes or preds.shape[1]}
    if preds.is_floating_point():
        if preds.ndim == 1:
            return {"task": "binary"}
        return {"task": "multilabel", "num_labels": preds.shape[1]}
    if num_classes is None:
        num_classes = int(max(preds.max(), target.max())) + 1
        num_classes = 1 if num_classes <= 2 else num_classes
    if num_classes == 1:
        return {"task": "binary"}
    return {"task": "multiclass", "num_classes": num_classes}
