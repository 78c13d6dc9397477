"""What the ranks print: their pipes, passed on as it comes, held back while the controller lags.

Bytes, not lines: what a rank prints without a newline (a prompt, a progress bar, the last words of
one that dies) is at the controller at once, and no line is too long.
"""

from __future__ import annotations

from launcher.agent.lowlevel import READ, Selector

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from launcher.agent.ranks.workers import Worker
    from launcher.agent.system import System
    from launcher.agent.wire import Outgoing
    from launcher.core.protocol.messages import FromAgent

    Emit = Callable[[FromAgent], None]


class Outputs:
    """The output pipes of one attempt's ranks."""

    def __init__(self, selector: Selector, out: Outgoing, system: System) -> None:
        self._selector, self._out, self._system = selector, out, system
        self.throttled = False

    def watch(self, worker: Worker) -> None:
        """Read whatever this rank prints from now on."""
        for fd in worker.outputs:
            self._selector.register(fd, READ, self._reader(worker, fd))

    def close(self, worker: Worker) -> None:
        """Hear no more of this rank."""
        for fd in worker.outputs:
            self._selector.unregister(fd)
            self._system.close(fd)
        worker.outputs.clear()

    def throttle(self, workers: Iterable[Worker]) -> None:
        """Stop reading while the controller does not keep up."""
        if self._out.backed_up == self.throttled:
            return
        self.throttled = self._out.backed_up
        for worker in workers:
            if not self.throttled:
                self.watch(worker)
                continue
            for fd in worker.outputs:
                self._selector.unregister(fd)

    def read_once(self, worker: Worker) -> None:
        """One piece of each pipe, if there is one."""
        for fd in list(worker.outputs):
            self._reader(worker, fd)()

    def read_left(self, worker: Worker) -> None:
        """All that a rank has left behind in its pipes."""
        for fd in list(worker.outputs):
            if self.throttled:
                self._selector.register(fd, READ, lambda: None)
            for _ in range(64):  # a child of the rank that writes for ever must not hold us
                self._reader(worker, fd)()
                if fd not in worker.outputs or not self._system.is_readable(fd):
                    break

    def _reader(self, worker: Worker, fd: int) -> Callable[[], None]:
        def read() -> None:
            if not read_output(worker, fd, self._system, self._out.send):
                self._selector.unregister(fd)
                self._system.close(fd)
                worker.outputs.remove(fd)

        return read


def read_output(worker: Worker, fd: int, system: System, emit: Emit) -> bool:
    """Pass on what a rank has written; False at the end of the stream."""
    try:
        data = system.read(fd, 65536)
    except BlockingIOError:
        return True
    except OSError:
        data = b""
    if not data:
        return False
    worker.last_lines.feed(fd, data)
    # Bytes that are no UTF-8 travel as lone surrogates; so do characters that are cut in two.
    text = data.decode("utf-8", "surrogateescape")
    emit({"type": "raw", "rank": worker.rank, "err": fd == worker.errors, "text": text})
    return True
