"""Seeds, and the state of everything that draws at random."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.distributed import rank_zero_info

MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed python, numpy, torch and its GPUs; returns the seed.

    Without `seed`, `PL_GLOBAL_SEED` of the environment is taken, else one is drawn. Workers of a
    DataLoader are always seeded by the engine, differently on each rank, from this seed.
    """
    if seed is None:
        env_seed = os.environ.get("PL_GLOBAL_SEED")
        seed = int(env_seed) if env_seed is not None else random.randint(0, MAX_SEED)
    seed = int(seed)
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"a seed lies between 0 and {MAX_SEED}, not {seed}")
    if verbose:
        rank_zero_info(f"Global seed set to {seed}")
    os.environ["PL_GLOBAL_SEED"] = str(seed)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def random_state() -> dict[str, Any]:
    """The state of all random number generators of this process, as plain data."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = {
        "python": [version, list(numbers), gauss],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            position,
            has_gauss,
            cached,
        ],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put all generators back to where `random_state` found them."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())


@contextmanager
def isolate_rng() -> Iterator[None]:
    """Random numbers that are drawn within leave no trace: all generators are put back."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


def mix(*numbers: int) -> int:
    """One 63-bit seed of several numbers; close numbers give seeds far apart."""
    value = 0x9E3779B97F4A7C15
    for number in numbers:
        value ^= (number & 0xFFFFFFFFFFFFFFFF) + 0x9E3779B97F4A7C15
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value & 0x7FFFFFFFFFFFFFFF


def fresh_seed() -> int:
    """A seed that follows from the present random state and leaves it as it is."""
    state = torch.get_rng_state()
    generator = torch.Generator()
    generator.set_state(state)
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator))
