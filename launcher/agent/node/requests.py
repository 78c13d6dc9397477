"""What the controller asks of a node beside running ranks: to be reached, GPUs and their leases."""

from __future__ import annotations

from launcher.agent.lowlevel import socket
from launcher.agent.node import probe

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from launcher.agent.node.gpu_lease import Lease

NO_SLURM_GPUS = "the SLURM job was given none there; sbatch --gpus-per-node=N asks for them"


class Errands:
    """Answers to questions; each returns the message to send."""

    def __init__(self, job_id: str, sources: dict[str, Any], env: Mapping[str, str]) -> None:
        self._job_id, self._sources, self._env = job_id, sources, env
        self._leases: Lease | None = None
        self._listener: socket.socket | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a question, or None if it is none of ours."""
        kind = message["type"]
        if kind == "reach":
            return self._reach(message["address"], message["port"], message["word"])
        if kind == "listen":
            return self._listen(message["address"])
        if kind == "gpus":
            return self._look_at_gpus(message["sources"])
        if kind == "lease":
            return self._lease(message["uuids"])
        return None

    def _reach(self, address: str, port: int, word: str | None) -> dict[str, Any]:
        problem = probe.reaches(address, port, (word or "").encode())
        mine, interface = probe.route_to(address, port)
        return {"type": "reached", "problem": problem, "address": mine, "interface": interface}

    def _listen(self, address: str) -> dict[str, Any]:
        """Only to see whether others can reach us: nobody ever answers on this socket."""
        try:
            self._listener = listen_on(address)
        except OSError:
            return {"type": "listening", "port": None}
        return {"type": "listening", "port": self._listener.getsockname()[1]}

    def _look_at_gpus(self, sources: dict[str, Any]) -> dict[str, Any]:
        from launcher.agent.node.gpu_probe import probe_node

        self._sources.update(sources)  # the driver's library, sent only where it is needed
        own = self._leases.held if self._leases is not None else ()
        visible = self._env.get("CUDA_VISIBLE_DEVICES")
        if (
            visible is None
            and "SLURM_JOB_ID" in self._env
            and "SLURM_GPUS_ON_NODE" not in self._env
        ):
            # Not ours, although nothing may keep us from them.
            return {"type": "gpus", "gpus": [], "visible": "", "error": NO_SLURM_GPUS}
        return {"type": "gpus", **probe_node(visible, own)}

    def _lease(self, uuids: list[str]) -> dict[str, Any]:
        from launcher.agent.node.gpu_lease import Lease

        if self._leases is None:
            self._leases = Lease(self._job_id)
        self._leases.give_back([uuid for uuid in self._leases.held if uuid not in uuids])
        taken, refused = self._leases.take(uuids)
        return {"type": "leased", "taken": list(taken), "refused": list(refused)}


def listen_on(address: str) -> socket.socket:
    """A listening socket on a free port of one address. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.bind((address, 0))
        sock.listen(1024)
    except OSError:
        sock.close()
        raise
    return sock
