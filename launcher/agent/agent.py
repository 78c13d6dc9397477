"""The agent's loop: one thread that waits for whatever happens on its node and acts on it.

It hears the controller on its standard input, the fork server on a socket pair, the ranks on their
output pipes and on a unix socket, the kernel by SIGCHLD, and its guard by a pipe. When the
controller is gone or silent it ends the ranks and itself.
"""

from __future__ import annotations

import os
import sys
import time

from launcher.agent.forkserver.client import RANK, ForkServer, Started
from launcher.agent.lowlevel import READ, Selector, signal, suppress
from launcher.agent.node import cleanup, limits, probe, pulse
from launcher.agent.node.requests import Errands
from launcher.agent.ranks import processes, workers
from launcher.agent.ranks.ending import LOOK_S, Ending
from launcher.agent.ranks.outputs import Outputs
from launcher.agent.ranks.reports import Told
from launcher.agent.ranks.stdin import RankInput
from launcher.agent.rendezvous.store import Store
from launcher.agent.wire import Incoming, Outgoing, RankLines, unpacked
from launcher.core.protocol.frames import ChannelError

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

HEARTBEAT_S = 1.0
NOTICES = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
MAX_TAIL_LINE = 4000  # characters that are kept of a last line
PAUSE_S = 3.0  # a loop that stood still this long was stopped or starved: it judges nobody


class Agent:
    """One node's part of a run."""

    def __init__(
        self,
        config: dict[str, Any],
        sources: dict[str, Any],
        guard: tuple[int, int],
        folder: str,
        started: Started,
    ) -> None:
        self.config, self.sources = config, sources
        self.mark, self.cwd, self.env = started.mark, started.cwd, started.env
        self.python = config["python"]
        told = (config["kind"], config["target"], config["args"], unpacked(config["pickled"]))
        self.program = workers.Program(*told, config["compat"])
        self.group: workers.Group | None = None
        self.ending: Ending | None = None  # while its ranks end because one has failed
        self.folder = folder
        self.selector = Selector()
        key_in, key_out = config["keys"] or (None, None)
        self.out = Outgoing(1, self.selector, key_out)
        self.told = Told(lambda: self.group, self.out.send, self._note)
        self.lines = RankLines(self.folder, self.selector, self.told.hear, self.told.complain)
        self.server = started.server
        self.cold = started.cold
        self.store = Store(self.python, self.env, sources, self.selector, self._note)
        self.errands = Errands(config["job_id"], sources, self.env)
        self.input = RankInput(self.selector)
        self.outputs = Outputs(self.selector, self.out)
        self.torch_there = False
        self._incoming = Incoming(key_in)
        self._heard = self._looked = time.monotonic()
        self._guard_fd, self._pulse_fd = guard
        self._beaten = 0.0
        self._notes, self._problem = started.notes, started.problem
        self._over: int | None = None

    def run(self) -> int:
        """Work until the controller says so or goes away; returns the exit code."""
        try:
            self._listen_to_signals()
            for note in self._notes:
                self._note(note)
            if self.server is None:
                python = sys.version.split()[0]
                self.out.send({"type": "found", "python": python, "problem": self._problem})
            else:
                self._watch(self.server.fileno(), self._from_server)
            self._reap()
            self._watch(0, self._from_controller)
            self._watch(self._guard_fd, lambda: self._end(1))
            if self.config["tether"] is not None:
                self._watch(self.config["tether"], self._from_starter)
            self.out.send({"type": "probe", **probe.facts(self.config)})
            while self._over is None:
                self._turn()
        finally:
            self._clean_up()
        return self._over or 0

    def _turn(self) -> None:
        for fd, action in self.selector.wait(LOOK_S if self.ending else HEARTBEAT_S / 2):
            # An action before may have closed this one: a rank's end drains all that it said.
            if self._over is None and self.selector.action(fd) is action:
                action()
        now = time.monotonic()
        if now - self._looked > PAUSE_S:
            self._heard = now
        self._looked = now
        if now - self._heard > self.config["silence_s"]:
            self._end(1)
        if now - self.out.last > HEARTBEAT_S:
            self.out.send({"type": "beat"})
        if now - self._beaten > HEARTBEAT_S:
            self._beaten = now
            with suppress(OSError):
                os.write(self._pulse_fd, pulse.IDLE if self.group is None else pulse.AT_WORK)
        if self.group is not None:
            self.outputs.throttle(self.group.workers.values())
            self.input.ask(self.group, self.program.kind != "program", now, self.out.send)
        if self.ending is not None:
            self.ending.look(now)
        self.lines.hold(self.out.backed_up)

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self.selector.register(fd, READ, action)

    # -- signals and children

    def _listen_to_signals(self) -> None:
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        for number in (signal.SIGCHLD, signal.SIGINT, *NOTICES):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._watch(self._wake, self._on_signal)

    def _on_signal(self) -> None:
        numbers = os.read(self._wake, 4096)
        for number in set(numbers) & set(NOTICES):
            # A scheduler signals every process of its job: what it means is the launcher's to find
            # out, and the ranks may have to save. Elsewhere it is meant for us.
            if self.config["tether"] is not None:
                self.out.send({"type": "notice", "number": number})
            elif number in (signal.SIGTERM, signal.SIGHUP):
                self._end(128 + signal.SIGTERM)
        self._reap()

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0] != 0:
                # the fork server's end is seen on its socket
                self._on_exit(ended[0], ended[1], ended[2].ru_maxrss)

    # -- the fork server

    def _from_server(self) -> None:
        assert self.server is not None
        for message in self.server.receive():
            operation = message["op"]
            if operation == "found":
                self.torch_there = message["torch"] is not None
                self.out.send({**message, "type": "found", "problem": None})
            elif operation == "ready":
                self._server_ready(message["problem"])
            elif operation == "refused":
                self._refused(message)
            elif operation == "forked":
                self._forked(message)
            elif operation == "exited":
                self._on_exit(message["pid"], message["status"], message["peak"])
        if self.server.closed:
            self.selector.unregister(self.server.fileno())
            self._server_ended(self.server)

    def _server_ready(self, problem: str | None) -> None:
        if problem:
            self.cold = True
            if self.torch_there:  # else nothing will start at all
                self._note(f"{problem}: starting cold")
        self._launch_group()

    def _refused(self, message: dict[str, Any]) -> None:
        if not self.cold:
            self.cold = True
            names = ", ".join(f"{name}.py" for name in message["clash"][:3])
            self._note(
                f"your own {names} has the name of a module of python or torch: starting cold"
            )
        worker = self.group.by_order(message["id"]) if self.group is not None else None
        if worker is not None and worker.status is None:
            self._launch_cold(worker)

    def _forked(self, message: dict[str, Any]) -> None:
        if message["id"] == "store":
            self.store.taken_over(message["pid"])
            return
        worker = self.group.by_order(message["id"]) if self.group is not None else None
        if worker is not None and worker.status is None and self.group is not None:
            worker.pid = message["pid"]
            self.told.settle()
        else:  # its attempt was ended before it came to be
            with suppress(ProcessLookupError):
                os.kill(message["pid"], signal.SIGKILL)

    def _server_ended(self, server: ForkServer) -> None:
        """Without its server no warm rank can be followed: that is a lost agent.

        Before there are any, they start cold instead.
        """
        if server.ready:
            print("the fork server was killed", file=sys.stderr, flush=True)  # noqa: T201 - for the controller
            self._end(1)
            return
        self.server, self.cold = None, True
        if not server.found:
            self.out.send({"type": "found", "problem": server.last_words()})
            return
        self._note(f"importing for the fork server failed ({server.last_words()}): starting cold")
        self.store.host(None)
        self._launch_group()

    # -- the ranks

    def _start(self, message: dict[str, Any]) -> None:
        limits.allow_files_for(message["ranks"], self.config["soft_limit"], self._note)
        seam = {"PLAUNCH_SOCKET": self.lines.path, "TORCHELASTIC_ERROR_FILE": self.folder}
        made = workers.make(message["ranks"], message["defaults"], self.env, seam)
        alone = message["world_size"] == 1
        stdin, self._beaten = self.config.get("stdin"), 0.0  # the guard is to know at once
        self.group = workers.Group(message["attempt"], made, with_stdin=alone, stdin=stdin)
        if self.cold or (self.server is not None and self.server.ready):
            self._launch_group()

    def _launch_group(self) -> None:
        """Start the ranks, once: a cold start does not wait for the fork server, but hears it."""
        if self.group is None or self.group.launched:
            return
        self.group.launched = True
        for worker in self.group.workers.values():
            if self.cold or self.server is None:
                self._launch_cold(worker)
            else:
                streams = self._open_streams(worker)
                fd = workers.pickled_file(self.program)
                order = self.group.fork_order(worker, self.program, self.cwd)
                ends = [*streams, *([] if fd is None else [fd])]
                self.server.send(order, ends)
                for end in ends:
                    os.close(end)

    def _open_streams(self, worker: workers.Worker) -> tuple[int, int, int]:
        assert self.group is not None
        streams = self.group.open_streams(worker)
        if worker.stdin is not None:
            self.input.attach(worker.stdin)
        self.outputs.watch(worker)
        return streams

    def _launch_cold(self, worker: workers.Worker) -> None:
        self.outputs.close(worker)
        self.input.detach()
        streams = self._open_streams(worker)
        ours = tuple(self.sources[name] for name in RANK)
        try:
            workers.spawn_cold(worker, self.program, self.env, self.cwd, self.python, ours, streams)
        except OSError as error:
            self.out.send({"type": "unstarted", "rank": worker.rank, "problem": str(error)})
            worker.status = 127 if isinstance(error, FileNotFoundError) else 126
        finally:
            for fd in streams:
                os.close(fd)
        if worker.status is not None:
            self._tell_exit(worker)

    def _on_exit(self, pid: int, status: int, peak_kib: int) -> None:
        if pid == self.store.pid:
            # Without it the ranks would look for each other for half an hour.
            said = "the rendezvous store ended, which torch hosts for the ranks"
            print(said, file=sys.stderr, flush=True)  # noqa: T201 - for the controller
            self._end(1)
        worker = self.group.by_pid(pid) if self.group is not None else None
        if worker is None or self.group is None or worker.status is not None:
            return
        self.group.ended_with(worker, processes.decode_status(status), peak_kib)
        self._tell_exit(worker)

    def _tell_exit(self, worker: workers.Worker) -> None:
        """Everything that the rank has said goes out before the news of its end."""
        self.lines.drain()
        self.outputs.read_left(worker)
        self.out.send(
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

    def _close_group(self) -> None:
        """The attempt is over here: nothing of it stays but the fork server and the store.

        Other nodes' ranks may still need the store; it ends with the next attempt or the agent.
        """
        assert self.group is not None
        server = None if self.server is None else self.server.pid
        keep = {pid for pid in (os.getppid(), server, self.store.pid) if pid is not None}
        left = cleanup.sweep(self.mark, keep)
        for worker in self.group.workers.values():
            self.outputs.read_once(worker)
            self.outputs.close(worker)
        self.input.detach()
        self.told.forget()
        self.outputs.throttled = False
        attempt, self.group, self.ending = self.group.attempt, None, None
        with suppress(OSError):
            os.unlink(self.lines.failed_path)
        self.out.send({"type": "stopped", "attempt": attempt, "swept": left})

    # -- the controller

    def _from_starter(self) -> None:
        if not os.read(self.config["tether"], 4096):
            self._end(0)

    def _from_controller(self) -> None:
        try:
            data = os.read(0, 1 << 20)
        except BlockingIOError:
            return
        except OSError:  # a connection that was reset
            data = b""
        self._heard = time.monotonic()
        try:
            for message in self._incoming.feed(data):
                self._obey(message)
        except ChannelError as error:
            print(error, file=sys.stderr, flush=True)  # noqa: T201 - for the controller
            self._end(1)
        if not data:
            self._end(0)

    def _obey(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "start":
            self._start(message)
        elif kind == "store":
            self.out.send(self.store.open(message["address"], message["hosted"], message["word"]))
            self.store.host(None if self.cold else self.server)
        elif kind == "signal" and self.group is not None:
            if self.group.begun:
                self.group.signal(message["number"])
            else:
                self._kill()  # nobody is there to hand it to
        elif kind == "stop":
            self._stop(message["grace_s"])
        elif kind == "kill":
            self._kill()
        elif kind == "stdin":
            self.input.feed(unpacked(message["data"]), over=message["over"])
        elif kind == "end":
            self._end(0)
        elif (answer := self.errands.answer(message)) is not None:
            self.out.send(answer)

    def _stop(self, grace_s: float) -> None:
        """A rank somewhere has failed: end those that are here, with a short grace."""
        if self.group is None:
            return
        with suppress(OSError):  # a program that would save when it is told to end looks here
            os.close(os.open(self.lines.failed_path, os.O_CREAT | os.O_EXCL, 0o600))
        is_python = self.program.kind != "program"
        self.ending = Ending(self.group, grace_s, is_python, time.monotonic())
        self._close_if_ended()

    def _kill(self) -> None:
        if self.group is not None:
            self.group.kill()
            self._close_if_ended()

    def _close_if_ended(self) -> None:
        if self.group is not None and self.group.ended:
            self._close_group()

    def _note(self, text: str) -> None:
        self.out.send({"type": "note", "text": text})

    def _end(self, code: int) -> None:
        self._over = code if self._over is None else self._over

    def _clean_up(self) -> None:
        if self.group is not None:
            self.group.kill()
        cleanup.sweep(self.mark, {os.getppid()}, cleanup.reap)
        self.out.flush(timeout_s=1.0)
