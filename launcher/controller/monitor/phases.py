"""What is said of ranks that wait in init_process_group, or never called it. Pure: text only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.core.console.console import ranks_in_words

WAITS, JOINED, ALONE = "init_process_group", "joined", "alone"
PHASES = (WAITS, JOINED, ALONE)


def early_end(ended: Sequence[int], running: Sequence[int], phases: Mapping[int, str]) -> str:
    """What is said when some ranks have ended well long before the others."""
    text = f"{named(ended)} ended with 0, but {named(running)} still run"
    text += "s" if len(running) == 1 else ""
    waiting = [rank for rank in running if phases.get(rank) == WAITS]
    if waiting:
        who = "" if len(waiting) == len(running) else f" {named(waiting)}"
        text += f",{who} in init_process_group, which waits for all {len(ended) + len(running)}"
    return text


def were_independent(phases: Mapping[int, str], world_size: int) -> str | None:
    """What is said of several ranks none of which has ever met another."""
    if world_size < 2 or any(phase != ALONE for phase in phases.values()):
        return None
    return (
        f"{world_size} ranks ran as independent copies: none of them joined a process group "
        "(torch.distributed.init_process_group)"
    )


def named(ranks: Sequence[int]) -> str:
    """``rank 1`` or ``ranks 0-2, 5``."""
    return f"rank{'s' if len(ranks) > 1 else ''} {ranks_in_words(ranks)}"
