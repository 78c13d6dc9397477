"""Following one attempt: from the start of its ranks until none of them is left."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from launcher.controller import phases, verdict
from launcher.controller.agents.fleet import Fleet
from launcher.controller.agents.link import SILENCE_S, Lost
from launcher.controller.agents.stdin import RankStdin
from launcher.controller.policy import PREEMPTED
from launcher.core.console.console import Output
from launcher.core.console.traces import split_stack
from launcher.core.job import Failure, Job, Placement
from launcher.rundir.rundir import RunDir, clean

LAST_WORDS_S = 0.5  # for a rank that has raised to unwind and write what it has to say
WITNESSES_S = 3.0  # for the culprit to die, after the first victim of a broken collective
STEP_EVERY_S = 10.0  # between two notes of how far the run is, for `plaunch status`
LAST_LINES = 50  # of a rank that are kept for the verdict
CHECKPOINTS = 1000  # noted each; of more, one every STEP_EVERY_S
ALL_REPORTS = 64 << 20  # bytes of JSON that the ranks may have reported, all together
ENDING_S = 15.0  # for an agent to say that nothing is left, after its ranks had to be gone
EARLY_S = 3.0  # between a rank's good end and the others': so much is usual
KILL = {"type": "kill"}


class Untrue(Exception):
    """A message that is well formed, and can't be true: of what it is."""


@dataclass
class Followed:
    """What is known of an attempt while it runs, and after it."""

    records: dict[int, verdict.Record]
    attempt: int
    lost: list[verdict.LostNode] = field(default_factory=list)
    values: dict[int, Any] = field(default_factory=dict)
    reported_by: dict[int, str] = field(default_factory=dict)
    metrics: dict[int, Any] = field(default_factory=dict)  # what the engine reported by itself
    phases: dict[int, str] = field(default_factory=dict)  # by rank, as far as it has told
    # "loss is nan", by rank and by who has reported it
    not_finite: dict[tuple[int, str], str] = field(default_factory=dict)
    checkpoint: str | None = None
    asked_to_end: int | None = None  # the first signal that we were sent
    timed_out: bool = False
    told_too_late: bool = False  # to end, when the ranks were ending for a failure already

    @property
    def exit_codes(self) -> list[int | None]:
        """By rank: exit code or minus the signal; None where nobody knows."""
        return [self.records[rank].status for rank in sorted(self.records)]


class Follower:
    """The loop over everything that agents, ranks and signals bring in one attempt."""

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
        self.deadline, self.stdin = deadline, stdin
        self.where = {
            place.first_rank + i: place.node.name
            for place in places
            for i in range(place.num_ranks)
        }
        records = {rank: verdict.Record(rank, node) for rank, node in self.where.items()}
        self.state = Followed(records, attempt)
        self.running = {place.node.name for place in places}
        self.stop_at: float | None = None  # when ranks are asked to end, of a run that has failed
        self.kill_at: float | None = None
        self.is_ending = False  # they were asked, or killed
        self.early_at: float | None = None  # when the first good end is an early one
        self._seen_early = False
        self.give_up_at: float | None = None
        self._signs = 0
        self._actions: dict[str, Callable[[str, dict[str, Any]], None]] = {
            "raw": self._on_raw,
            "note": self._on_note,
            "notice": self._on_notice,
            "report": self._on_report,
            "progress": self._on_progress,
            "phase": self._on_phase,
            "want": self._on_want,
            "failure": self._on_failure,
            "unstarted": self._on_unstarted,
            "exit": self._on_exit,
            "stopped": self._on_stopped,
        }
        self._last_signal = 0.0
        self._tell_step_at = 0.0
        self._checkpoints = 0
        self._sizes: dict[tuple[int, str], int] = {}  # of what ranks have reported, as JSON
        self._reported = 0  # all of these
        self._told_of_size = False

    def follow(self) -> Followed:
        """Work until every node has said that nothing of the attempt is left, or is lost."""
        while self.running:
            event = self.fleet.next_event(self._patience())
            if isinstance(event, int):
                self._on_signal(event)
            elif event is not None and isinstance(event.body, Lost):
                self._on_lost(event.node, event.body.reason)
            elif event is not None and isinstance(event.body, dict):
                self._on_message(event.node, event.body)
            self._look_at_clock()
        self.output.ended()
        return self.state

    def _patience(self) -> float:
        waiting = (
            self.stop_at, self.kill_at, self.give_up_at, self.deadline, self.early_at,
            self.output.due(),
        )  # fmt: skip
        moments = [moment for moment in waiting if moment is not None]
        return min([0.5, *(moment - time.monotonic() for moment in moments)])

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        self.output.tick()
        complaint = self.rundir.complaint()
        if complaint is not None:
            self.output.error(complaint)
        for name in self.fleet.silent(SILENCE_S):
            self.fleet.drop(name, "silent")
            self._on_lost(name, f"no word from it for {SILENCE_S:.0f} s")
        if self.deadline is not None and now > self.deadline and not self._ends():
            self.state.timed_out = True
            self.deadline = None
            self._fail_within(0)
        if self.early_at is not None and now >= self.early_at:
            self.early_at = None
            self._tell_of_early_end()
        if self.stop_at is not None and now >= self.stop_at:
            grace_s = self.job.failure_grace_s
            self._tell_to_end({"type": "stop", "grace_s": grace_s} if grace_s else KILL, grace_s)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_at = None
            self._tell_to_end(KILL, 0)
        if self.give_up_at is not None and now > self.give_up_at:
            for name in list(self.running):
                self.fleet.drop(name, "it did not end its ranks")
                self._on_lost(name, f"its agent did not end its ranks within {ENDING_S:.0f} s")

    def _ends(self) -> bool:
        """Whether the end of the ranks has been settled."""
        return self.is_ending or self.stop_at is not None or self.kill_at is not None

    def _tell_to_end(self, order: dict[str, Any], grace_s: float) -> None:
        self.stop_at, self.is_ending = None, True
        self.give_up_at = time.monotonic() + grace_s + ENDING_S
        self.fleet.tell(order, list(self.running))

    def _fail_within(self, seconds: float) -> None:
        """The attempt has failed: ask what runs to end after ``seconds``, or sooner if said so."""
        moment = time.monotonic() + seconds
        if not self.is_ending and (self.stop_at is None or moment < self.stop_at):
            self.stop_at = moment

    def _kill_within(self, seconds: float) -> None:
        """Kill what runs after ``seconds``, or sooner if that was said before."""
        moment = time.monotonic() + seconds
        if self.kill_at is None or moment < self.kill_at:
            self.kill_at = moment

    # -- what comes in

    def _on_signal(self, number: int) -> None:
        """A signal to us: it is handed to the ranks."""
        now = time.monotonic()
        self.rundir.event("signal", signal=signal.Signals(number).name)
        if self.is_ending and self.state.asked_to_end is None:
            self.state.told_too_late = True  # the run has failed: that stays its end
            self.output.say("killing the ranks")
            self._kill_within(0)
        elif self.state.asked_to_end is None:
            self._ask_to_end(number, "")
            self._last_signal = now
        elif number == signal.SIGINT and now - self._last_signal > 0.2:
            self.output.say("killing the ranks")
            self._kill_within(0)
        elif number != self.state.asked_to_end:
            self.fleet.tell({"type": "signal", "number": number})

    def _on_notice(self, node: str, message: dict[str, Any]) -> None:
        """A scheduler's signal to the processes on a node: all nodes are to know of it."""
        number = int(message["number"])
        self.rundir.event("notice", signal=signal.Signals(number).name, node=node)
        if self.is_ending:
            self.state.told_too_late = True
        elif self.state.asked_to_end is None:
            self._ask_to_end(number, f" (sent on {node} by the scheduler)")

    def _ask_to_end(self, number: int, where: str) -> None:
        self.state.asked_to_end = number
        name = signal.Signals(number).name
        name += " (the terminal was closed)" if number == signal.SIGHUP and not where else ""
        self.output.say(
            f"{name}{where}: the ranks have {self.job.grace_s:g} s to end"
            + ("; Ctrl-C again kills them" if number == signal.SIGINT else "")
        )
        self.fleet.tell({"type": "signal", "number": number})
        self._kill_within(self.job.grace_s)

    def _on_lost(self, name: str, reason: str) -> None:
        if name not in self.running:
            self.fleet.drop(name, reason)
            return
        self.running.discard(name)
        self.fleet.drop(name, reason)
        self._signs += 1
        self.state.lost.append(verdict.LostNode(name, reason, self._signs))
        self.rundir.event("node_lost", node=name, reason=reason)
        self.output.say(f"{name} is lost: {reason}")
        self._fail_within(0)

    def _on_message(self, node: str, message: dict[str, Any]) -> None:
        """Act on a message that is well formed; what can't be true costs the node, not the run."""
        if node not in self.running and ("rank" in message or message["type"] == "stopped"):
            return  # it has said that nothing is left
        act = self._actions.get(message["type"])
        try:
            if "rank" in message and self.where.get(message["rank"]) != node:
                raise Untrue(f"rank {message['rank']}, which is not its own")
            if act is not None:
                act(node, message)
        except Untrue as error:
            reason = f"it sent what no agent of ours sends: {message['type']} of {error}"
            self._on_lost(node, reason)

    def _on_raw(self, _: str, message: dict[str, Any]) -> None:
        self.rundir.log(message["rank"], message["text"])
        self.output.printed(message["rank"], message["text"], err=message["err"])

    def _on_note(self, node: str, message: dict[str, Any]) -> None:
        self.output.say(f"{node}: {message['text']}")

    def _on_report(self, _: str, message: dict[str, Any]) -> None:
        """What the program reports itself counts more than what the engine reports for it."""
        rank, by = message["rank"], message.get("by", "user")
        self.state.not_finite[rank, by] = not_finite(message)
        if by == "engine" and isinstance(message["value"], dict):
            self.state.metrics[rank] = self._bounded(rank, "metrics", message["value"])
        if by != "engine" or self.state.reported_by.get(rank, "engine") == "engine":
            self.state.values[rank] = self._bounded(rank, "value", message["value"])
            self.state.reported_by[rank] = by

    def _bounded(self, rank: int, place: str, value: Any) -> Any:
        """The value, or None where all that is reported is too large with it."""
        found, before = clean(value), self._sizes.pop((rank, place), 0)
        size = len(json.dumps(found))
        self._reported += size - before
        if self._reported <= ALL_REPORTS:
            self._sizes[rank, place] = size
            return found
        self._reported -= size
        if not self._told_of_size:
            self._told_of_size = True
            self.output.error(
                f"what rank {rank} reported is left out: all reports together may have "
                f"{ALL_REPORTS >> 20} MiB; save them to files and report the paths"
            )
        return None

    def _on_progress(self, _: str, message: dict[str, Any]) -> None:
        rank, step, checkpoint = message["rank"], message.get("step"), message.get("checkpoint")
        now = time.monotonic()
        if isinstance(step, int):
            self._note(rank, step=step, failed_at=step if message.get("failed") else None)
        is_new = isinstance(checkpoint, str) and checkpoint != self.state.checkpoint
        if is_new and (self._checkpoints < CHECKPOINTS or now >= self._tell_step_at):
            self._checkpoints += 1
            self._tell_step_at = now + STEP_EVERY_S
            self.state.checkpoint = checkpoint
            self.rundir.event("checkpoint", path=checkpoint, step=step)
        elif is_new:
            self.state.checkpoint = checkpoint
        elif isinstance(step, int) and now >= self._tell_step_at:
            self._tell_step_at = now + STEP_EVERY_S
            self.rundir.event("step", step=step)

    def _on_phase(self, _: str, message: dict[str, Any]) -> None:
        if message.get("phase") in phases.PHASES:
            self.state.phases[message["rank"]] = message["phase"]

    def _on_want(self, _: str, message: dict[str, Any]) -> None:
        if self.stdin is not None:
            self.stdin.want(message)

    def _on_failure(self, _: str, message: dict[str, Any]) -> None:
        told = message["failure"]
        failure = Failure(
            str(told["type"]), str(told["message"]), str(told["traceback"]), tuple(told["chain"])
        )
        if failure.type == "KeyboardInterrupt" and self.state.asked_to_end is not None:
            return
        self._note(message["rank"], failure=failure)
        self._react(message["rank"])

    def _on_unstarted(self, _: str, message: dict[str, Any]) -> None:
        self._note(message["rank"], unstarted=message["problem"])

    def _on_exit(self, node: str, message: dict[str, Any]) -> None:
        rank = message["rank"]
        if self.state.records[rank].status is not None:
            raise Untrue(f"rank {rank} once more")
        tail, stack = split_stack([str(line) for line in message["tail"]])
        self._note(
            rank,
            status=message["status"],
            killed=message["killed"],
            oom=message["oom"],
            memory=str(message.get("memory") or ""),
            tail=tuple(tail[-LAST_LINES:]),
            stack=stack,
        )
        self.output.ended(rank)
        self.rundir.event("exit", rank=rank, node=node, status=message["status"])
        self._react(rank)

    def _on_stopped(self, node: str, message: dict[str, Any]) -> None:
        if message["attempt"] != self.state.attempt:
            raise Untrue(f"attempt {message['attempt']}, and this is {self.state.attempt}")
        self.running.discard(node)

    # -- what follows from it

    def _tell_of_early_end(self) -> None:
        """Some ranks have ended well and others go on: it is said once, they may wait for ever."""
        codes = self.state.exit_codes
        ended = [rank for rank, code in enumerate(codes) if code == 0]
        running = [rank for rank, code in enumerate(codes) if code is None]
        if running and not self._ends() and self.state.asked_to_end is None:
            self.output.say(phases.early_end(ended, running, self.state.phases))

    def _note(self, rank: int, **news: Any) -> None:
        self.state.records[rank] = replace(self.state.records[rank], **news)

    def _react(self, rank: int) -> None:
        """A failure ends the attempt: at once if it is the rank's own, else after a short wait."""
        record = self.state.records[rank]
        if record.status == 0 and not self._seen_early:
            self._seen_early = True
            self.early_at = time.monotonic() + EARLY_S
        if not verdict.failed(record):
            return
        if record.order == 1 << 30:
            self._signs += 1
            self._note(rank, order=self._signs)
        if self.state.asked_to_end is not None:
            return  # ranks that were asked to end may end as they like, within the grace
        if record.status == PREEMPTED and record.failure is None:
            self._kill_within(self.job.grace_s)  # the others are saving, too
        elif verdict.broke_with_peer(record):
            self._fail_within(WITNESSES_S)
        else:
            self._fail_within(0 if record.status is not None else LAST_WORDS_S)


def not_finite(message: Mapping[str, Any]) -> str:
    """What of a reported value was no number, in words: ``loss is nan``. JSON has none for it."""
    told = message.get("not_finite")
    if not isinstance(told, Mapping):
        return ""
    whole = [name for name in told if not _is_part(name, told)]
    return ", ".join(f"{name} is {told[name]}" for name in whole[:5])


def _is_part(name: str, names: Mapping[str, Any]) -> bool:
    """Whether it is the value of a step or an epoch beside one under the bare name."""
    base, _, kind = name.rpartition("_")
    return kind in ("step", "epoch") and base in names
