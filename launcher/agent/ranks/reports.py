"""What ranks report to their agent: checked, and passed on in their own name, never in another's.

What a report means for the run is decided by the controller.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.agent.ranks.workers import Group
    from launcher.core.protocol.messages import FromAgent

EARLY = 64  # messages that may wait for word of whose they are


class RankReports:
    """What the ranks of the present ``group`` report.

    ``send`` takes it to the controller, ``note`` takes a line for people.
    """

    def __init__(
        self,
        group: Callable[[], Group | None],
        send: Callable[[FromAgent], None],
        note: Callable[[str], None],
    ) -> None:
        self._group, self._send, self._note = group, send, note
        self._early: list[tuple[int, dict[str, Any]]] = []

    def hear(self, pid: int, message: dict[str, Any]) -> None:
        """Pass on what a process tells, if it is a rank. Raises ChannelError for what none does."""
        from launcher.core.protocol.checks import from_rank

        group = self._group()
        if group is None:
            return
        known = from_rank(message)
        worker = group.by_pid(pid)
        if worker is not None:
            if known["type"] == "failure":
                if worker.stopped:
                    return  # it fails of being ended
                worker.raised = True
            passed_on: Any = {**known, "rank": worker.rank}
            self._send(passed_on)
        elif not group.all_known and len(self._early) < EARLY:
            self._early.append((pid, known))  # a quick rank is heard before its server tells of it

    def settle(self) -> None:
        """One more rank's process is known."""
        early, self._early = self._early, []
        for pid, known in early:
            self.hear(pid, known)

    def forget(self) -> None:
        """The attempt is over."""
        self._early.clear()

    def complain(self, pid: int, problem: str) -> None:
        """Say, once a rank, that it sent a message that no rank of ours sends."""
        group = self._group()
        worker = group.by_pid(pid) if group is not None else None
        if worker is not None and not worker.warned:
            worker.warned = True
            self._note(f"rank {worker.rank} sent its agent a message that is ignored: {problem}")
