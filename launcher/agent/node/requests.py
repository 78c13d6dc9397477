"""What the controller asks of a node beside running ranks: to be reached, GPUs and their leases.

It answers; what follows from an answer is the controller's to decide.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from launcher.agent.lowlevel import socket
    from launcher.agent.node.gpu_lease import Lease
    from launcher.agent.system import System
    from launcher.core.protocol import messages

NO_SLURM_GPUS = "the SLURM job was given none there; sbatch --gpus-per-node=N asks for them"


class NodeRequests:
    """Answers to questions; each returns the message to send."""

    def __init__(
        self, job_id: str, sources: dict[str, Any], env: Mapping[str, str], system: System
    ) -> None:
        self._job_id, self._sources, self._env = job_id, sources, env
        self._system = system
        self._leases: Lease | None = None
        self._listener: socket.socket | None = None

    def reach(self, message: messages.Reach) -> messages.Reached:
        """Whether this node can connect to an address, and from which of its own."""
        address, port, word = message["address"], message["port"], message["word"]
        problem = self._system.reaches(address, port, (word or "").encode())
        mine, interface = self._system.route_to(address, port)
        return {"type": "reached", "problem": problem, "address": mine, "interface": interface}

    def listen(self, message: messages.Listen) -> messages.Listening:
        """Only to see whether others can reach us: nobody ever answers on this socket."""
        try:
            self._listener = self._system.listen_on(message["address"])
        except OSError:
            return {"type": "listening", "port": None}
        return {"type": "listening", "port": self._listener.getsockname()[1]}

    def gpus(self, message: messages.AskGpus) -> messages.Gpus:
        """The node's GPUs, without those that SLURM has not given to the job."""
        self._sources.update(
            message["sources"]
        )  # the driver's library, sent only where it is needed
        own = self._leases.held if self._leases is not None else ()
        visible = self._env.get("CUDA_VISIBLE_DEVICES")
        if (
            visible is None
            and "SLURM_JOB_ID" in self._env
            and "SLURM_GPUS_ON_NODE" not in self._env
        ):
            # Not ours, although nothing may keep us from them.
            return {"type": "gpus", "gpus": [], "visible": "", "error": NO_SLURM_GPUS}
        seen = self._system.gpus(visible, own)
        visible, error = seen["visible"], seen["error"]
        return {"type": "gpus", "gpus": seen["gpus"], "visible": visible, "error": error}

    def lease(self, message: messages.AskLease) -> messages.Leased:
        """Lease these GPUs and no others any more."""
        uuids = message["uuids"]
        if self._leases is None:
            self._leases = self._system.leases(self._job_id)
        self._leases.give_back([uuid for uuid in self._leases.held if uuid not in uuids])
        taken, refused = self._leases.take(uuids)
        return {"type": "leased", "taken": list(taken), "refused": list(refused)}
