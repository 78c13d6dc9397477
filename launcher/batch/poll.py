"""Waiting for a job: SLURM is asked again and again, the user is listened to meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType

from launcher.clusters.slurm import client
from launcher.clusters.slurm.client import SlurmAway, SlurmError
from launcher.clusters.slurm.jobs import SlurmJob
from launcher.core.console.console import Output
from launcher.core.exit_codes import INTERRUPTED, by_signal

TICK_S = 0.2
ASK_S = 2.0
HURRY_S = 0.3
ASK_AWAY_S = 10.0

QUESTION = "plaunch: {}: c to cancel it, l to leave it running, Enter to keep waiting? "


class LeftRunning(Exception):
    """The user has gone away from a job, which goes on; ``exit_code`` is ours."""

    def __init__(self, job_id: str, exit_code: int, *, cancelled: bool = False) -> None:
        super().__init__(
            f"job {job_id} is being cancelled, and was not waited for"
            if cancelled
            else f"job {job_id} was left running: plaunch status {job_id} shows it, plaunch logs "
            f"{job_id} its output, plaunch cancel {job_id} ends it"
        )
        self.job_id, self.exit_code = job_id, exit_code


@dataclass(frozen=True)
class Typed:
    """What the user has answered."""

    text: str


Heard = Typed | SlurmError | list[SlurmJob] | int


class Watch:
    """A job (or array) from its submission to its end. Use it with ``with``, and iterate.

    What comes is what SLURM says of the job's tasks each time that it was asked (empty: it does
    not know the job), and None a few times a second in between. A question to the user may be
    open meanwhile (``asking``): then nothing else should be printed. ``heard`` is from
    :func:`listening`.
    """

    def __init__(
        self, job_id: str, output: Output, heard: SimpleQueue[Heard], what: str = "job"
    ) -> None:
        self.asking = False
        self.cancelled_by: int | None = None
        self._id, self._name, self._output = job_id, f"{what} {job_id}", output
        self._heard = heard
        self._away = False
        self._said: set[str] = set()
        self._asker = _Asker(job_id, heard)

    def __enter__(self) -> Watch:
        self._asker.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._asker.stop()
        if self.asking:
            self._output.raw("\n", err=True)

    @property
    def away(self) -> bool:
        """Whether SLURM does not answer at present."""
        return self._away

    def hurry(self) -> None:
        """Ask more often for a while: something has happened."""
        self._asker.hurry()

    def __iter__(self) -> Iterator[Sequence[SlurmJob] | None]:
        """See the class. Raises LeftRunning."""
        while True:
            try:
                heard = self._heard.get(timeout=TICK_S)
            except Empty:
                yield None
                continue
            if isinstance(heard, int):
                self._interrupted(heard)
            elif isinstance(heard, Typed):
                self._answered(heard.text)
            elif isinstance(heard, SlurmError):
                self._trouble(heard)
            else:
                if self._away:
                    self._output.say("SLURM answers again")
                self._away = False
                yield heard

    def _trouble(self, error: SlurmError) -> None:
        """Say it once, however often it comes."""
        if self.asking or (
            self._away if isinstance(error, SlurmAway) else str(error) in self._said
        ):
            return
        if isinstance(error, SlurmAway):
            self._away = True
            self._output.error(
                f"SLURM can't be reached; {self._name} goes on, and we ask again every "
                f"{ASK_AWAY_S:g} s ({error})"
            )
        else:
            self._said.add(str(error))
            self._output.error(f"SLURM: {error}")

    def _interrupted(self, number: int) -> None:
        if number == signal.SIGHUP:  # the terminal was closed, the job is not
            raise LeftRunning(self._id, by_signal(number))
        if self.cancelled_by is not None:
            raise LeftRunning(self._id, by_signal(number), cancelled=True)
        if number == signal.SIGINT and not self.asking and _at_a_terminal():
            self.asking = True
            self._output.raw(f"\n{QUESTION.format(self._name)}", err=True)
            threading.Thread(target=_read_answer, args=(self._heard,), daemon=True).start()
            return
        self._cancel(number)

    def _answered(self, text: str) -> None:
        if not self.asking:
            return  # a second Ctrl-C was quicker
        self.asking = False
        letter = text.strip().lower()[:1]
        if letter == "c":
            self._cancel(signal.SIGINT)
        elif letter == "l":
            raise LeftRunning(self._id, INTERRUPTED)

    def _cancel(self, number: int) -> None:
        if self.asking:
            self._output.raw("\n", err=True)
        self.asking, self.cancelled_by = False, number
        self._output.say(f"{self._name} is being cancelled (once more: don't wait for its end)")
        self._asker.cancel()


class _Asker:
    """Asks SLURM from a thread of its own: a controller that is away lets one wait for long."""

    def __init__(self, job_id: str, heard: SimpleQueue[Heard]) -> None:
        self._id, self._heard = job_id, heard
        self._wake = threading.Event()
        self._over = self._cancelling = False
        self._hurried = 4  # a job may start at once
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over = True
        self._wake.set()
        self._thread.join(1)

    def cancel(self) -> None:
        self._cancelling = True
        self.hurry()

    def hurry(self) -> None:
        self._hurried = 8
        self._wake.set()

    def _run(self) -> None:
        while not self._over:
            pause = ASK_S
            if self._hurried:
                self._hurried, pause = self._hurried - 1, HURRY_S
            try:
                if self._cancelling:
                    self._cancel()
                self._heard.put(client.show_tasks(self._id))
            except SlurmError as error:
                pause = ASK_AWAY_S
                self._heard.put(error)
            self._wake.wait(pause)
            self._wake.clear()

    def _cancel(self) -> None:
        try:
            client.cancel(self._id)
        except SlurmAway:
            raise  # and tried again
        except SlurmError as error:
            self._heard.put(error)  # such as: it is over already
        self._cancelling = False


def _at_a_terminal() -> bool:
    """Whether there is somebody to ask: we are in a terminal's foreground."""
    try:
        fd = sys.stdin.fileno()
        here = os.isatty(fd) and sys.stderr.isatty()
        return here and os.tcgetpgrp(fd) == os.getpgrp()
    except (OSError, ValueError, AttributeError):
        return False


def _read_answer(heard: SimpleQueue[Heard]) -> None:
    try:
        text = os.read(sys.stdin.fileno(), 1000).decode(errors="replace")
    except OSError:
        text = ""
    heard.put(Typed(text))


@contextlib.contextmanager
def listening() -> Iterator[SimpleQueue[Heard]]:
    """Signals wait in a queue while this lasts, from before a job is submitted until its end.

    In the main thread only: others can't have them.
    """
    heard: SimpleQueue[Heard] = SimpleQueue()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, action in before.items():
            if action is not signal.SIG_IGN:  # as by nohup, on purpose
                signal.signal(number, lambda caught, _frame: heard.put(caught))
        yield heard
    finally:
        for number, action in before.items():
            signal.signal(number, action)
