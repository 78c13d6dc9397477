"""The ranks of this node, attempt after attempt: started, signalled, stopped, and their exits told.

One attempt at a time. Why one ends is the controller's to decide; here it is carried out.
"""

from __future__ import annotations

from launcher.agent.forkserver.client import RANK
from launcher.agent.lowlevel import suppress
from launcher.agent.ranks import processes, workers
from launcher.agent.wire import unpacked

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from launcher.agent.forkserver.client import Started
    from launcher.agent.loop.server import StartMethod
    from launcher.agent.ranks.ending import Ending
    from launcher.agent.ranks.outputs import Outputs
    from launcher.agent.ranks.reports import RankReports
    from launcher.agent.ranks.stdin import RankInput
    from launcher.agent.rendezvous.store import Store
    from launcher.agent.system import System
    from launcher.agent.wire import Outgoing, RankLines
    from launcher.core.protocol.messages import Start

CHECK_EVERY_S = 0.1  # whether ranks that are to end still do something
MAX_TAIL_LINE = 4000  # characters that are kept of a last line


class Launch:
    """With what the ranks of every attempt are started (data)."""

    def __init__(
        self,
        config: Mapping[str, Any],
        sources: Mapping[str, Any],
        started: Started,
        folder: str,
    ) -> None:
        self.mark, self.env, self.cwd = started.mark, started.env, started.cwd
        self.python = config["python"]
        self.program = workers.Program(
            config["kind"], config["target"], config["args"], unpacked(config["pickled"]),
            config["compat"],
        )  # fmt: skip
        self.sources = tuple(sources[name] for name in RANK)
        self.stdin: int | None = config.get("stdin")  # inherited from the launcher
        self.soft_limit: int | None = config["soft_limit"]
        self.folder = folder  # the run's private one


class RankStreams:
    """All that ranks say and hear: their output, their input, their reports."""

    def __init__(
        self, outputs: Outputs, stdin: RankInput, lines: RankLines, reports: RankReports
    ) -> None:
        self.outputs, self.stdin, self.lines, self.reports = outputs, stdin, lines, reports

    def open(self, group: workers.Group, worker: workers.Worker) -> tuple[int, int, int]:
        """Make a rank's standard streams; returns its ends, for it to inherit."""
        streams = group.open_streams(worker)
        if worker.stdin is not None:
            self.stdin.attach(worker.stdin)
        self.outputs.watch(worker)
        return streams

    def close(self, worker: workers.Worker) -> None:
        """Close those of a rank that could not be started: it gets others."""
        self.outputs.close(worker)
        self.stdin.detach()

    def read_left(self, worker: workers.Worker) -> None:
        """Everything that a rank has said until its end."""
        self.lines.drain()
        self.outputs.read_left(worker)

    def end(self, group: workers.Group) -> None:
        """The attempt is over: nothing of its ranks is heard any more."""
        for worker in group.workers.values():
            self.outputs.read_once(worker)
            self.outputs.close(worker)
        self.stdin.detach()
        self.reports.forget()
        self.outputs.throttled = False


class Attempts:
    """The attempt that runs now, if one does. ``end`` ends the agent with an exit code."""

    def __init__(
        self,
        launch: Launch,
        method: StartMethod,
        streams: RankStreams,
        store: Store,
        out: Outgoing,
        system: System,
        end: Callable[[int], None],
    ) -> None:
        self._launch, self._method, self._streams = launch, method, streams
        self._store, self._out, self._system, self._end = store, out, system, end
        self.group: workers.Group | None = None
        self.ending: Ending | None = None  # while its ranks end because one has failed

    # -- starting

    def start(self, message: Start) -> None:
        """Begin an attempt: its ranks are started as soon as they can be."""
        launch, ranks = self._launch, message["ranks"]
        self._system.allow_files_for(ranks, launch.soft_limit, self._out.note)
        seam = {
            "PLAUNCH_SOCKET": self._streams.lines.path,
            "TORCHELASTIC_ERROR_FILE": launch.folder,
        }
        made = workers.make(ranks, message["defaults"], launch.env, seam)
        alone = message["world_size"] == 1
        self.group = workers.Group(
            message["attempt"], made, self._system, with_stdin=alone, stdin=launch.stdin
        )
        if self._method.is_ready:
            self.launch()

    def launch(self) -> None:
        """Start the ranks, once: a cold start does not wait for the fork server, but hears it."""
        if self.group is None or self.group.launched:
            return
        self.group.launched = True
        for worker in self.group.workers.values():
            server = self._method.fork_server
            if server is None:
                self._launch_cold(self.group, worker)
                continue
            streams = self._streams.open(self.group, worker)
            fd = workers.pickled_file(self._launch.program, self._system)
            order = self.group.fork_order(worker, self._launch.program, self._launch.cwd)
            ends = [*streams, *([] if fd is None else [fd])]
            server.send(order, ends)
            for end in ends:
                self._system.close(end)

    def launch_cold(self, order_id: str) -> None:
        """Start the rank of a refused order in an interpreter of its own."""
        worker = self._waiting_worker(order_id)
        if worker is not None and self.group is not None:
            self._launch_cold(self.group, worker)

    def _launch_cold(self, group: workers.Group, worker: workers.Worker) -> None:
        self._streams.close(worker)
        streams, launch = self._streams.open(group, worker), self._launch
        try:
            workers.spawn_cold(
                worker, launch.program, launch.env, launch.cwd, launch.python, launch.sources,
                streams, self._system,
            )  # fmt: skip
        except OSError as error:
            self._out.send({"type": "unstarted", "rank": worker.rank, "problem": str(error)})
            worker.status = 127 if isinstance(error, FileNotFoundError) else 126
        finally:
            for fd in streams:
                self._system.close(fd)
        if worker.status is not None:
            self._tell_exit(worker)

    def forked(self, order_id: str, pid: int) -> bool:
        """The fork server has made a rank; False if nobody waits for it any more."""
        worker = self._waiting_worker(order_id)
        if worker is None:
            return False
        worker.pid = pid
        self._streams.reports.settle()
        return True

    def _waiting_worker(self, order_id: str) -> workers.Worker | None:
        worker = self.group.by_order(order_id) if self.group is not None else None
        return worker if worker is not None and worker.status is None else None

    # -- while it runs

    def turn(self, now: float) -> None:
        """What is to be done again and again: input, output held back, ranks that are ending."""
        if self.group is not None:
            is_python = self._launch.program.kind != "program"
            self._streams.outputs.throttle(self.group.workers.values())
            self._streams.stdin.ask(self.group, is_python, now, self._out.send)
        if self.ending is not None:
            self.ending.check(now)

    def signal(self, number: int) -> None:
        """Hand a signal to the ranks."""
        if self.group is None:
            return
        if self.group.begun:
            self.group.signal(number)
        else:
            self.kill()  # nobody is there to hand it to

    def stop(self, grace_s: float) -> None:
        """A rank somewhere has failed: end those that are here, with a short grace."""
        if self.group is None:
            return
        with suppress(OSError):  # a program that would save when it is told to end looks here
            self._system.create_file(self._streams.lines.failed_path)
        from launcher.agent.ranks.ending import Ending  # not needed for a start

        is_python = self._launch.program.kind != "program"
        self.ending = Ending(self.group, grace_s, is_python, self._system)
        self._close_if_ended()

    def kill(self) -> None:
        """End all ranks at once."""
        if self.group is not None:
            self.group.kill()
            self._close_if_ended()

    # -- exits

    def on_exit(self, pid: int, status: int, peak_kib: int) -> None:
        """A process has ended, with this wait status."""
        if pid == self._store.pid:
            # Without it the ranks would look for each other for half an hour.
            self._system.complain("the rendezvous store ended, which torch hosts for the ranks")
            self._end(1)
        worker = self.group.by_pid(pid) if self.group is not None else None
        if worker is None or self.group is None or worker.status is not None:
            return
        self.group.ended_with(worker, processes.decode_status(status), peak_kib)
        self._tell_exit(worker)

    def _tell_exit(self, worker: workers.Worker) -> None:
        """Everything that the rank has said goes out before the news of its end."""
        self._streams.read_left(worker)
        self._out.send(
            {
                "type": "exit",
                "rank": worker.rank,
                "status": worker.status,
                "killed": worker.killed,
                "oom": worker.oom,
                "memory": worker.memory,
                "tail": [line[:MAX_TAIL_LINE] for line in worker.last_lines.lines()],
            }
        )
        self._close_if_ended()

    def _close_if_ended(self) -> None:
        if self.group is not None and self.group.ended:
            self._close(self.group)

    def _close(self, group: workers.Group) -> None:
        """The attempt is over here: nothing of it stays but the fork server and the store.

        Other nodes' ranks may still need the store; it ends with the next attempt or the agent.
        """
        server = None if self._method.server is None else self._method.server.pid
        keep = {pid for pid in (self._system.parent(), server, self._store.pid) if pid is not None}
        num_killed = self._system.sweep(self._launch.mark, keep)
        self._streams.end(group)
        self.group = self.ending = None
        with suppress(OSError):
            self._system.unlink(self._streams.lines.failed_path)
        self._out.send({"type": "stopped", "attempt": group.attempt, "swept": num_killed})
