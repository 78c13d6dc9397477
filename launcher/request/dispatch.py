"""Where a request is carried out: by this process, or through SLURM's queue. The one decision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from launcher.core.errors import UsageError
from launcher.core.job import Program, RunOptions
from launcher.core.options import OPTIONS, RAY, SLURM, Option
from launcher.request.request import find
from launcher.request.words import is_given

if TYPE_CHECKING:
    from launcher.core.console.console import Output
    from launcher.request.discovery import Discovered

Outcome = TypeVar("Outcome")


def execute(
    options: RunOptions,
    program: Program,
    output: Output,
    *,
    here: Callable[[RunOptions, Program, Discovered, Output], Outcome],
    queue: Callable[[RunOptions, Program, Discovered, Output], Outcome],
) -> Outcome:
    """Carry a request out in the one of two ways that it asks for.

    The ways are the caller's: to run it, to begin it in the background, or only to show it.

    Args:
        options: The request.
        program: What every rank runs.
        output: Where we say what happens.
        here: With this process as the controller, on the nodes of the cluster that was discovered.
        queue: As a job that is submitted to SLURM, and runs plaunch there.

    Returns:
        What the way returns.

    Raises:
        UsageError: The request makes no sense, or no such cluster is there.
    """
    discovered = find(options)
    way = queue if is_submitted(options, discovered) else here
    return way(options, program, discovered, output)


def is_submitted(options: RunOptions, discovered: Discovered) -> bool:
    """Whether the run goes into SLURM's queue. Raises UsageError for options of other clusters."""
    of_ray = [one.word for name, one in _group(RAY) if is_given(options, name)]
    if of_ray and discovered.kind != "ray":
        raise UsageError(
            f"{', '.join(of_ray)}: for the resources of a Ray cluster, and this run is on "
            f"{discovered.kind}: add --cluster ray, or leave it out"
        )
    if discovered.is_queue:
        return True
    given = [one.word for name, one in _group(SLURM) if getattr(options, name)]
    if given:
        why = f"and this run is on {discovered.kind}: add --cluster slurm, or leave it out"
        if discovered.allocation is not None:
            why = (
                "and this run is inside an allocation already: leave it out, or submit a job of "
                "its own from here by --new-job"
            )
        raise UsageError(f"{', '.join(given)}: for a job that plaunch submits to SLURM, {why}")
    return False


def _group(title: str) -> list[tuple[str, Option]]:
    return [(name, one) for name, one in OPTIONS.items() if one.group == title]
