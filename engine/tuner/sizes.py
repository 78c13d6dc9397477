"""Which batch size to try next: pure, so that every rank asks for the same."""

from __future__ import annotations

from collections.abc import Callable

MODES = ("power", "binsearch")


def largest(
    fits: Callable[[int], bool],
    mode: str,
    first: int,
    trials: int,
    samples: Callable[[], int | None],
) -> int:
    """The largest size that was seen to fit; 0 if not even one sample does.

    From `first` on the size doubles as long as it fits (and from there halves where it does not);
    "binsearch" then looks between the last that fitted and the first that did not. No size is
    above the number of samples, which may be known only after the first trial.
    """
    size, good, bad = first, 0, 0
    while trials > 0:
        trials -= 1
        if fits(size):
            most = samples() or 2 * size
            good = min(size, most)
            if bad or size >= most:
                break
            size = min(2 * size, most)
        else:
            bad = size
            if good or size == 1:
                break
            size //= 2
    while mode == "binsearch" and good and bad - good > 1 and trials > 0:
        trials -= 1
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good
