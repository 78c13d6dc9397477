"""Names of types that annotations use: what users' data and steps are made of.

These are `Any` for the type checker; the names say what to expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Batch: TypeAlias = Any  # what a loader yields: a tensor, or tensors in tuples, lists and dicts
StepOutput: TypeAlias = Any  # what a step returns: None, a loss tensor, or a dict with "loss"
Loader: TypeAlias = Any  # a DataLoader, or any iterable of batches
Loaders: TypeAlias = Any  # a loader, or several in lists and dicts
Hyperparameters: TypeAlias = Any  # a mapping, a Namespace or another object with attributes
Metrics: TypeAlias = Mapping[str, Any]  # logged values by name: tensors or numbers
State: TypeAlias = dict[str, Any]  # plain data of a checkpoint, by name
