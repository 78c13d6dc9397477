"""Seeds, and the state of everything that draws at random."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from engine.runtime.distributed.world import broadcast, gather_all, rank_zero_info, rank_zero_warn

MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed python, numpy, torch and its GPUs; returns the seed.

    Without `seed`, `PL_GLOBAL_SEED` of the environment is taken, else one is drawn, as in the
    place of one that is none; a warning says so. Workers of a DataLoader are always seeded by the
    engine, differently on each rank, from this seed. Ranks of one seed begin each run alike,
    whatever each has drawn before.
    """
    given = os.environ.get("PL_GLOBAL_SEED") if seed is None else seed
    seed = _as_seed(given)
    if seed is None:
        seed = random.randint(0, MAX_SEED)
        what = "no seed was given" if given is None else f"{given!r} is no seed (0 to {MAX_SEED})"
        rank_zero_warn(f"seed_everything: {what}: it is {seed}")
    if verbose:
        rank_zero_info(f"Global seed set to {seed}")
    os.environ["PL_GLOBAL_SEED"] = str(seed)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def _as_seed(given: Any) -> int | None:
    try:
        seed = int(given)
    except (ValueError, TypeError):
        return None
    return seed if 0 <= seed <= MAX_SEED else None


def reset_seed() -> None:
    """Seed all again with what `seed_everything` was given, in this process or in its parent."""
    if "PL_GLOBAL_SEED" in os.environ:
        workers = _as_seed(os.environ.get("PL_SEED_WORKERS", "0"))
        seed_everything(workers=bool(workers), verbose=False)


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


def share_random_state() -> None:
    """Let all ranks draw what rank zero does, if they were given one seed.

    They may have drawn differently since then, and what `setup` draws must be the same everywhere.
    """
    seeds = gather_all(os.environ.get("PL_GLOBAL_SEED"))
    if len(seeds) > 1 and seeds[0] is not None and len(set(seeds)) == 1:
        state = broadcast(random_state())
        set_random_state({name: value for name, value in state.items() if name != "cuda"})


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
