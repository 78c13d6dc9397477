"""The limit of open files: raised for the agent, and given back to its ranks as the user has it."""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENOUGH = 1024  # the usual soft limit
MOST_FILES = 1 << 16
BASE_FILES, FILES_A_RANK = 32, 6

_of_ranks: list[int] = []  # the soft limit of what we start, if ours is another one


def raise_limit(needed: int, of_ranks: int | None = None) -> int | None:
    """Raise the soft limit as far as is allowed, if it is lower than ``needed``.

    ``of_ranks`` is the user's own, where ours is raised already. Returns the hard limit if even
    that is too low.
    """
    soft, hard = _limits()
    if of_ranks is not None and of_ranks != soft and not _of_ranks:
        _of_ranks.append(of_ranks)
    if soft >= needed:
        return None
    import resource

    if not _of_ranks:
        _of_ranks.append(soft)
    raised = min(hard, max(needed, MOST_FILES))
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (raised, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    return hard if hard < needed else None


def restore_limit() -> None:
    """In a process of the user's: the limit that the user has."""
    if _of_ranks:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_of_ranks[0], hard), hard))


def _limits() -> tuple[int, int]:
    """Soft and hard, without the resource module, whose import takes longer than this."""
    try:
        with open("/proc/self/limits") as file:
            rows = [row.split() for row in file if row.startswith("Max open files")]
    except OSError:
        rows = []
    soft, hard = rows[0][3:5] if rows else ("unlimited", "unlimited")
    return _number(soft), _number(hard)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 1 << 30


def files_for(ranks: Sequence[object]) -> int:
    """How many files an agent with so many ranks has open at most."""
    return BASE_FILES + FILES_A_RANK * len(ranks)


def allow_files_for(
    ranks: Sequence[object], of_ranks: int | None, note: Callable[[str], None]
) -> None:
    """Raise the limit as these ranks need it; ``note`` takes a line where that can't be.

    ``of_ranks`` is known where the launcher has the same limit, and says it itself.
    """
    files = files_for(ranks)
    most = raise_limit(files)
    if most is not None and of_ranks is None:
        note(f"it allows {most} open files (ulimit -Hn), about {files} are needed there")
