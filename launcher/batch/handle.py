"""A run in the background: what ``submit()`` gives back."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from queue import SimpleQueue
from typing import TYPE_CHECKING

from launcher.core.job import Result

if TYPE_CHECKING:
    from launcher.batch.poll import Heard
    from launcher.batch.states import JobStatus
    from launcher.batch.submit import Submitted
    from launcher.clusters.base import Cluster
    from launcher.core.console.console import Output
    from launcher.core.job import Job


class JobFailed(RuntimeError):
    """A run did not succeed; its message is what the command line prints of a failure.

    Attributes:
        result: How the run ended: its state, exit code and verdict, and what its ranks gave back.

    Example:
        ::

            try:
                launch("train.py", nodes=2)
            except JobFailed as failure:
                print(failure.result.state, failure.result.exit_code)
    """

    def __init__(self, result: Result) -> None:
        from launcher.core.console.console import verdict_lines
        from launcher.core.console.terminal import paragraph

        ended = "failed" if result.state == "failed" else f"was {result.state}"
        lines = [f"the job {ended} (exit code {result.exit_code})"]
        if result.verdict is not None:
            lines = [line.removeprefix("plaunch: ") for line in verdict_lines(result.verdict)]
        elif result.state == "preempted":
            lines.append(f"to go on, launch it again with run_dir={result.run_dir!r}")
        super().__init__("\n".join(map(paragraph, lines)))
        self.result = result


def checked(result: Result) -> Result:
    """The result itself. Raises JobFailed if it is none of success."""
    if result.state != "succeeded":
        raise JobFailed(result)
    return result


class Handle(ABC):
    """A run that was begun by ``submit()``, like a future.

    Attributes:
        job_id: What ``plaunch status``, ``logs`` and ``cancel`` call the run: plaunch's own id, or
            the number of its job in SLURM.
        run_dir: The run's folder, as an absolute path.

    Example:
        ::

            run = submit("train.py", procs=2)
            if not run.done():
                print(run.status())
            result = run.result(timeout_s=3600)
    """

    def __init__(self, job_id: str, run_dir: str, *, check: bool) -> None:
        self.job_id, self.run_dir = job_id, run_dir
        self._check = check
        self._result: Result | None = None
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.job_id}: {self.status()}>"

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the run's end, and return its result; asked again, the same one.

        Args:
            timeout_s: How long to wait, in seconds. Default: until it ends.

        Returns:
            How the run ended, and what its ranks gave back.

        Raises:
            TimeoutError: It has not ended within ``timeout_s``; it goes on.
            JobFailed: It did not succeed, and ``submit()`` was not told ``check=False``.
            ClusterError: It could not be started, as for PlacementError and RunDirError.
        """
        self._wait(timeout_s)
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise TimeoutError(f"job {self.job_id} has not ended within {timeout_s:g} s")
        return checked(self._result) if self._check else self._result

    def done(self) -> bool:
        """Whether the run is over; ``result()`` then does not wait.

        Returns:
            True if it has ended, however it did, or could not be started.
        """
        return self._result is not None or self._error is not None

    def status(self) -> str:
        """How the run is, as ``plaunch status`` says it.

        Returns:
            Such as "running", "queued (...)", "succeeded", "failed", or "not started".
        """
        if self._error is not None:
            return "not started"
        return self._now() if self._result is None else self._result.state

    @abstractmethod
    def cancel(self) -> None:
        """Ask the run to end, as Ctrl-C would; ``result()`` waits for that.

        Its ranks get a SIGINT, or in SLURM the signals of a cancelled job, and ``grace_s`` to save.
        """

    @abstractmethod
    def _now(self) -> str:
        """The state of a run whose end we have not seen."""

    @abstractmethod
    def _follow(self) -> Result:
        """Stay with the run to its end."""

    def _begin(self, *, daemon: bool) -> threading.Thread:
        self._thread = threading.Thread(
            target=self._run, name=f"plaunch {self.job_id}", daemon=daemon
        )
        self._thread.start()
        return self._thread

    def _run(self) -> None:
        try:
            self._result = self._follow()
        except BaseException as error:  # it is the caller's: result() raises it
            self._error = error

    def _wait(self, timeout_s: float | None) -> None:
        thread = self._thread or self._begin(daemon=True)
        thread.join(timeout_s)


class LedRun(Handle):
    """A run that a thread of this process leads: the program's end waits for that of the run."""

    def __init__(self, job: Job, cluster: Cluster, output: Output, *, check: bool) -> None:
        from launcher.controller.agents.link import Inbox

        super().__init__(job.id, job.run_dir, check=check)
        self._job, self._cluster, self._output = job, cluster, output
        self._inbox = Inbox()
        self._begin(daemon=False)

    def cancel(self) -> None:
        """Hand the ranks a SIGINT and end them; once more: at once."""
        self._inbox.signal(signal.SIGINT)

    def _now(self) -> str:
        return "running"

    def _follow(self) -> Result:
        from launcher.controller.run import lead

        return lead(self._job, self._cluster, self._inbox, self._output)

    def _wait(self, timeout_s: float | None) -> None:
        try:
            super()._wait(timeout_s)
        except KeyboardInterrupt:  # Ctrl-C means the run, as in launch()
            self.cancel()
            raise


class QueuedRun(Handle):
    """A job of SLURM's, which goes on without this process; it is followed in ``result()``."""

    def __init__(self, job: Submitted, output: Output, *, check: bool) -> None:
        super().__init__(job.id, str(job.traces().run_dir), check=check)
        self._job, self._output = job, output
        self._heard: SimpleQueue[Heard] = SimpleQueue()

    def done(self) -> bool:
        """Whether the run is over."""
        return super().done() or self._ask().over

    def cancel(self) -> None:
        """Cancel the job. Raises SlurmError, SlurmAway."""
        from launcher.clusters.slurm import client

        client.cancel(self._job.id)

    def _ask(self) -> JobStatus:
        from launcher.batch.states import job_states

        (status,), _ = job_states([self._job.entry])
        return status

    def _now(self) -> str:
        return self._ask().text

    def _follow(self) -> Result:
        from launcher.batch.run import end

        return end(self._job, self._output, self._heard)
