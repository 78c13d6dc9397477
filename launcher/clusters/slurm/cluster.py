"""A SLURM allocation as a cluster: one srun step starts an agent on each node, and each calls back.

What srun is told leaves nothing to the settings of whoever made the allocation: one task a node
that has all that the job has there, beside whatever else runs in the allocation.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from launcher.clusters.base import FIRST_WORDS_S, never, spare_first
from launcher.clusters.dialback import DialledStream, Reception, addresses_towards
from launcher.clusters.slurm.allocation import Allocation
from launcher.core.errors import ClusterError, NodeError
from launcher.core.job import Node
from launcher.core.limits import own_soft_limit
from launcher.core.nodelist import fold
from launcher.core.protocol import channel

CALL_S = 60.0  # for an agent to call back: the step may have to wait for a prolog
END_S = 5.0  # for a step to end once its agents have been told to
ERRORS_KEPT_BYTES = 10_000

# Options that srun would take from the variables of an allocation made for other ways of starting.
_OPTIONS_OF_OTHERS = """
SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_NTASKS SLURM_NPROCS SLURM_NTASKS_PER_CORE
SLURM_NTASKS_PER_GPU SLURM_NTASKS_PER_NODE SLURM_NTASKS_PER_SOCKET SLURM_NTASKS_PER_TRES
SLURM_GPUS_PER_TASK SLURM_GPU_BIND SLURM_GPUS_PER_SOCKET SLURM_TRES_BIND SLURM_TRES_PER_TASK
SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_MEM_PER_NODE SLURM_MEM_BIND SLURM_CPU_BIND
SLURM_DISTRIBUTION SLURM_HINT SLURM_EXCLUSIVE SLURM_EXACT SLURM_WHOLE SLURM_EXPORT_ENV
SLURM_KILL_BAD_EXIT SLURM_NO_KILL SLURM_LABELIO SLURM_UNBUFFEREDIO SLURM_STDINMODE
SLURM_STDOUTMODE SLURM_STDERRMODE SLURM_WAIT SLURM_IMMEDIATE SLURM_RELATIVE SLURM_THREAD_SPEC
SLURM_CORE_SPEC SLURM_OVERCOMMIT SLURM_MULTI_PROG SLURM_WORKING_DIR SLURM_TIMELIMIT SLURM_NODELIST
SLURM_JOB_NUM_NODES SLURM_NNODES SLURM_TASKS_PER_NODE
"""


class SlurmCluster:
    """The nodes of the allocation that we are inside of."""

    name = "slurm"
    one_machine = False
    in_slurm_job = True
    inherited_stdin = None
    first_words_s = FIRST_WORDS_S

    def __init__(
        self,
        allocation: Allocation,
        nodes: Sequence[Node],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._allocation, self._say = allocation, say
        self._nodes = tuple(nodes)
        self._reception: Reception | None = None
        self._steps: list[Step] = []
        self._step_of: dict[str, Step] = {}

    def nodes(self, stop: Callable[[], bool] = never) -> tuple[Node, ...]:
        """All nodes of the allocation, in the natural order of their names."""
        return self._nodes

    def prepare(self, nodes: Sequence[Node]) -> None:
        """Start one step with an agent on each of these nodes. Raises ClusterError."""
        names = [node.name for node in nodes]
        if self._reception is None:
            try:
                addresses = addresses_towards([node.address for node in nodes])
                self._reception = Reception(addresses, self._say)
            except OSError as error:
                problem = f"no agent could call back to this host: {error.strerror}"
                raise ClusterError([NodeError(names[0], problem)]) from error
        counts = {self._allocation.cpus_of(name) for name in names}
        cpus = counts.pop() if len(counts) == 1 else None
        argv = step_argv(nodes[0].python, names, cpus, self._allocation.gpus)
        try:
            step = Step(argv, self._reception.invite(names, "$SLURMD_NODENAME"))
        except OSError as error:
            problem = f"srun can't be started: {error.strerror}"
            raise ClusterError([NodeError(fold(names), problem, "is SLURM in PATH?")]) from error
        self._steps.append(step)
        self._step_of |= dict.fromkeys(names, step)

    def replace(self, lost: Sequence[Node], stop: Callable[[], bool]) -> tuple[Node, ...]:
        """Nodes of the allocation that were never used, then the lost ones."""
        return spare_first(self._nodes, self._step_of, lost)

    def connect(self, node: Node, argv: Sequence[str], env: Mapping[str, str]) -> DialledStream:
        """Wait until the node's agent has called. Raises NodeError."""
        assert self._reception is not None
        step = self._step_of[node.name]
        return self._reception.stream(
            node.name, CALL_S, over=step.failure, wait=step.wait, errors=step.errors
        )

    def close(self) -> None:
        """End all steps and everything in them."""
        for step in self._steps:
            step.close()
        if self._reception is not None:
            self._reception.close()


# srun meets SIGTERM by killing its tasks at once, and SLURM may send it to all that descends from a
# batch script. So srun descends from nobody: a shell starts it in the background and ends.
# The tasks have the user's own limit of open files: srun takes the limits along.
_ORPHAN = 'ulimit -Sn {files}; exec 3<&0; "$@" <&3 3<&- >/dev/null & echo $!'


class Step:
    """An srun process: the tasks of one step, and the ears for what they say on standard error."""

    def __init__(self, argv: Sequence[str], invitation: bytes) -> None:
        others = _OPTIONS_OF_OTHERS.split()
        starter = subprocess.Popen(
            ["/bin/sh", "-c", _ORPHAN.format(files=own_soft_limit() or "unlimited"), "sh", *argv],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name not in others},
            start_new_session=True,  # a Ctrl-C is for us
        )
        assert starter.stdin is not None
        assert starter.stdout is not None
        assert starter.stderr is not None
        self._tether, self._stderr = starter.stdin, starter.stderr
        with starter.stdout as told:
            self._pid = int(told.read())
        starter.wait()
        self._ended = False
        try:
            self._life = os.pidfd_open(self._pid)
        except ProcessLookupError:
            self._life, self._ended = -1, True
        self._errors = bytearray()
        self._ears = threading.Thread(target=self._listen, daemon=True)
        self._ears.start()
        with contextlib.suppress(BrokenPipeError):  # it failed at once, and has said why
            self._tether.write(invitation)

    def failure(self) -> str | None:
        """Why the tasks will never call, once srun has ended."""
        if not self.ends_within(0):
            return None
        self._ears.join(1.0)
        said = [line for line in self.errors().splitlines() if line.strip()]
        return f"srun could not start it: {said[-1] if said else 'it said nothing'}"

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end of all tasks; how they ended is not known, so it is None."""
        self.ends_within(timeout_s)
        return None

    def ends_within(self, timeout_s: float) -> bool:
        """Whether srun, which ends after all its tasks, has ended or does so in time."""
        if not self._ended:
            poll = select.poll()
            poll.register(self._life, select.POLLIN)
            self._ended = bool(poll.poll(timeout_s * 1000))
        return self._ended

    def errors(self) -> str:
        """The last 10 kB of what srun and the tasks said on standard error."""
        return bytes(self._errors).decode(errors="replace")

    def close(self) -> None:
        """Let the tasks know by their tether; what does not end then is killed by SLURM."""
        with contextlib.suppress(OSError):
            self._tether.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ends_within(END_S):
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._life, number)
        self._ears.join(1.0)
        if self._life >= 0:
            os.close(self._life)
            self._life, self._ended = -1, True

    def _listen(self) -> None:
        with self._stderr as stderr:
            while chunk := stderr.read(ERRORS_KEPT_BYTES):
                self._errors += chunk
                del self._errors[:-ERRORS_KEPT_BYTES]


def step_argv(
    python: str, names: Sequence[str], cpus: int | None, gpus: int | None = None
) -> list[str]:
    """The srun command line of a step with one agent on each of the nodes.

    ``cpus`` and ``gpus`` are what it asks for on each; None: nothing, which gives it all.
    """
    return [
        "srun",
        f"--nodes={len(names)}",
        f"--ntasks={len(names)}",
        "--ntasks-per-node=1",
        f"--nodelist={','.join(names)}",
        "--overlap",  # beside other steps: the user's own, and those of a second plaunch
        *([f"--cpus-per-task={cpus}"] if cpus is not None else []),
        *([f"--gpus-per-node={gpus}"] if gpus is not None else []),
        "--cpu-bind=none",
        "--mem=0",  # all that the job has there
        "--export=ALL",
        "--input=all",
        "--no-kill",  # a node that is lost must not take the others along
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--mpi=none",
        "--job-name=plaunch",
        python,
        *("-I", "-S", "-c", channel.DIAL),
    ]
