"""The loop over everything that agents, ranks, signals and the clock bring in one attempt.

It says when the ranks are to end, and why; who is to blame is judged afterwards (verdict.py), and
whether to try again is decided elsewhere (policy.py).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from launcher.controller import verdict
from launcher.controller.agents.fleet import Fleet
from launcher.controller.agents.link import SILENCE_S, Lost
from launcher.controller.agents.stdin import RankStdin
from launcher.controller.monitor import phases
from launcher.controller.monitor.deadlines import ENDING_S, Deadlines
from launcher.controller.monitor.reports import Progress, Values
from launcher.controller.monitor.state import AttemptState
from launcher.controller.policy import PREEMPTED
from launcher.core.console.console import Output
from launcher.core.console.traces import split_stack
from launcher.core.job import Failure, Job, Placement
from launcher.rundir.rundir import RunDir

if TYPE_CHECKING:
    from launcher.core.protocol import messages

LAST_WORDS_S = 0.5  # for a rank that has raised to unwind and write what it has to say
WITNESSES_S = 3.0  # for the culprit to die, after the first victim of a broken collective
LAST_LINES = 50  # of a rank that are kept for the verdict
LONGEST_WAIT_S = 0.5  # for an event, before the clock is looked at
KILL: messages.Kill = {"type": "kill"}


class Untrue(Exception):
    """A message that is well formed, and can't be true: of what it is."""


class AttemptMonitor:
    """Follows one attempt. ``deadline`` is the run's, by the fleet's monotonic clock."""

    def __init__(
        self,
        job: Job,
        fleet: Fleet,
        places: Sequence[Placement],
        attempt: int,
        output: Output,
        rundir: RunDir,
        deadline: float | None,
        stdin: RankStdin | None = None,
    ) -> None:
        self.job, self.fleet, self.output, self.rundir = job, fleet, output, rundir
        self._now, self._stdin = fleet.system.monotonic, stdin
        self._node_of = {
            place.first_rank + i: place.node.name
            for place in places
            for i in range(place.num_ranks)
        }
        records = {rank: verdict.Record(rank, node) for rank, node in self._node_of.items()}
        self.state = AttemptState(records, attempt)
        self._running = {place.node.name for place in places}
        self._deadlines = Deadlines(deadline)
        self._values = Values(self.state, output.error)
        self._progress = Progress(self.state, rundir)
        self._last_signal = 0.0
        self.handlers: dict[str, Callable[[str, Any], None]] = {
            "raw": self._on_raw,
            "note": self._on_note,
            "notice": self._on_notice,
            "report": lambda _, message: self._values.report(message),
            "progress": lambda _, message: self._progress.report(message, self._now()),
            "phase": self._on_phase,
            "want": self._on_want,
            "failure": self._on_failure,
            "unstarted": self._on_unstarted,
            "exit": self._on_exit,
            "stopped": self._on_stopped,
        }

    def follow(self) -> AttemptState:
        """Work until every node has said that nothing of the attempt is left, or is lost."""
        while self._running:
            wait_s = self._deadlines.wait_s(self._now(), LONGEST_WAIT_S, self.output.due())
            event = self.fleet.next_event(wait_s)
            if isinstance(event, int):
                self._on_signal(event)
            elif event is not None and isinstance(event.body, Lost):
                self._on_lost(event.node, event.body.reason)
            elif event is not None and isinstance(event.body, dict):
                self._on_message(event.node, event.body)
            self._on_time(self._now())
        self.output.ended()
        return self.state

    # -- the clock

    def _on_time(self, now: float) -> None:
        self.output.tick()
        complaint = self.rundir.complaint()
        if complaint is not None:
            self.output.error(complaint)
        for name in self.fleet.silent(SILENCE_S):
            self.fleet.drop(name, "silent")
            self._on_lost(name, f"no word from it for {SILENCE_S:.0f} s")
        due = self._deadlines
        if due.timeout is not None and now > due.timeout and not due.end_is_settled:
            self.state.timed_out = True
            due.timeout = None
            due.stop_at(now)
        if due.early_end is not None and now >= due.early_end:
            due.early_end = None
            self._tell_of_early_end()
        if due.stop is not None and now >= due.stop:
            grace_s = self.job.failure_grace_s
            stop: messages.Stop = {"type": "stop", "grace_s": grace_s}
            self._ask_to_end(stop if grace_s else KILL, grace_s)
        if due.kill is not None and now >= due.kill:
            due.kill = None
            self._ask_to_end(KILL, 0)
        if due.give_up is not None and now > due.give_up:
            for name in sorted(self._running):
                self.fleet.drop(name, "it did not end its ranks")
                self._on_lost(name, f"its agent did not end its ranks within {ENDING_S:.0f} s")

    def _ask_to_end(self, order: messages.ToAgent, grace_s: float) -> None:
        self._deadlines.end_asked(self._now(), grace_s)
        self.fleet.tell(order, sorted(self._running))

    def _fail_within(self, seconds: float) -> None:
        """The attempt has failed: what runs is asked to end after ``seconds``, if not sooner."""
        self._deadlines.stop_at(self._now() + seconds)

    def _kill_within(self, seconds: float) -> None:
        self._deadlines.kill_at(self._now() + seconds)

    def _tell_of_early_end(self) -> None:
        """Some ranks have ended well and others go on: it is said once, they may wait for ever."""
        codes = self.state.exit_codes
        ended = [rank for rank, code in enumerate(codes) if code == 0]
        running = [rank for rank, code in enumerate(codes) if code is None]
        if running and not self._deadlines.end_is_settled and self.state.asked_to_end is None:
            self.output.say(phases.early_end(ended, running, self.state.phases))

    # -- signals

    def _on_signal(self, number: int) -> None:
        """A signal to us: it is handed to the ranks."""
        now = self._now()
        self.rundir.event("signal", signal=signal.Signals(number).name)
        if self._deadlines.is_ending and self.state.asked_to_end is None:
            self.state.signalled_too_late = True  # the run has failed: that stays its end
            self.output.say("killing the ranks")
            self._kill_within(0)
        elif self.state.asked_to_end is None:
            self._hand_on(number, "")
            self._last_signal = now
        elif number == signal.SIGINT and now - self._last_signal > 0.2:
            self.output.say("killing the ranks")
            self._kill_within(0)
        elif number != self.state.asked_to_end:
            self.fleet.tell({"type": "signal", "number": number})

    def _on_notice(self, node: str, message: messages.Notice) -> None:
        """A scheduler's signal to the processes on a node: all nodes are to know of it."""
        number = int(message["number"])
        self.rundir.event("notice", signal=signal.Signals(number).name, node=node)
        if self._deadlines.is_ending:
            self.state.signalled_too_late = True
        elif self.state.asked_to_end is None:
            self._hand_on(number, f" (sent on {node} by the scheduler)")

    def _hand_on(self, number: int, where: str) -> None:
        """Hand a signal to all ranks, which then have the grace to end."""
        self.state.asked_to_end = number
        name = signal.Signals(number).name
        name += " (the terminal was closed)" if number == signal.SIGHUP and not where else ""
        self.output.say(
            f"{name}{where}: the ranks have {self.job.grace_s:g} s to end"
            + ("; Ctrl-C again kills them" if number == signal.SIGINT else "")
        )
        self.fleet.tell({"type": "signal", "number": number})
        self._kill_within(self.job.grace_s)

    # -- the agents' messages

    def _on_lost(self, name: str, reason: str) -> None:
        self.fleet.drop(name, reason)
        if name not in self._running:
            return
        self._running.discard(name)
        self.state.note_lost(name, reason)
        self.rundir.event("node_lost", node=name, reason=reason)
        self.output.say(f"{name} is lost: {reason}")
        self._fail_within(0)

    def _on_message(self, node: str, message: dict[str, Any]) -> None:
        """Act on a message that is well formed; what can't be true costs the node, not the run."""
        if node not in self._running and ("rank" in message or message["type"] == "stopped"):
            return  # it has already reported that nothing of the attempt is left
        handle = self.handlers.get(message["type"])
        try:
            if "rank" in message and self._node_of.get(message["rank"]) != node:
                raise Untrue(f"rank {message['rank']}, which is not its own")
            if handle is not None:
                handle(node, message)
        except Untrue as error:
            reason = f"it sent what no agent of ours sends: {message['type']} of {error}"
            self._on_lost(node, reason)

    def _on_raw(self, _: str, message: messages.Raw) -> None:
        self.rundir.log(message["rank"], message["text"])
        self.output.printed(message["rank"], message["text"], err=message["err"])

    def _on_note(self, node: str, message: messages.Note) -> None:
        self.output.say(f"{node}: {message['text']}")

    def _on_phase(self, _: str, message: messages.RankPhase) -> None:
        if message.get("phase") in phases.PHASES:
            self.state.phases[message["rank"]] = message["phase"]

    def _on_want(self, _: str, message: messages.Want) -> None:
        if self._stdin is not None:
            self._stdin.want(message)

    def _on_failure(self, _: str, message: messages.RankFailure) -> None:
        details = message["failure"]
        failure = Failure(
            details["type"], details["message"], details["traceback"], tuple(details["chain"])
        )
        if failure.type == "KeyboardInterrupt" and self.state.asked_to_end is not None:
            return
        self.state.note(message["rank"], failure=failure)
        self._react(message["rank"])

    def _on_unstarted(self, _: str, message: messages.Unstarted) -> None:
        self.state.note(message["rank"], unstarted=message["problem"])

    def _on_exit(self, node: str, message: messages.Exit) -> None:
        rank = message["rank"]
        if self.state.records[rank].status is not None:
            raise Untrue(f"rank {rank} once more")
        tail, stack = split_stack([str(line) for line in message["tail"]])
        self.state.note(
            rank,
            status=message["status"],
            killed=message["killed"],
            oom=message["oom"],
            memory=message["memory"],
            tail=tuple(tail[-LAST_LINES:]),
            stack=stack,
        )
        self.output.ended(rank)
        self.rundir.event("exit", rank=rank, node=node, status=message["status"])
        self._react(rank)

    def _on_stopped(self, node: str, message: messages.Stopped) -> None:
        if message["attempt"] != self.state.attempt:
            raise Untrue(f"attempt {message['attempt']}, and this is {self.state.attempt}")
        self._running.discard(node)

    def _react(self, rank: int) -> None:
        """A failure ends the attempt: at once if it is the rank's own, else after a short wait."""
        record = self.state.records[rank]
        if record.status == 0:
            self._deadlines.good_end(self._now())
        if not verdict.failed(record):
            return
        self.state.note_trouble(rank)
        if self.state.asked_to_end is not None:
            return  # ranks that were asked to end may end as they like, within the grace
        if record.status == PREEMPTED and record.failure is None:
            self._kill_within(self.job.grace_s)  # the others are saving, too
        elif verdict.broke_with_peer(record):
            self._fail_within(WITNESSES_S)
        else:
            self._fail_within(0 if record.status is not None else LAST_WORDS_S)
