"""How ranks find each other: the environment of each rank, pure.

The names are torchrun's, all of them, so that every torchrun program runs unchanged; a test
compares the list with the installed torchrun.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.core.job import Placement

TORCHRUN_NAMES = (
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "RANK",
    "ROLE_NAME",
    "ROLE_RANK",
    "ROLE_WORLD_SIZE",
    "TORCHELASTIC_ERROR_FILE",
    "TORCHELASTIC_MAX_RESTARTS",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_SIGNALS_TO_HANDLE",
    "TORCHELASTIC_USE_AGENT_STORE",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING",
    "WORLD_SIZE",
)
OUR_NAMES = ("PLAUNCH_RUN_DIR", "PLAUNCH_SOCKET")
# Set by the agent, which alone knows its temporary folder.
NODE_NAMES = ("PLAUNCH_SOCKET", "TORCHELASTIC_ERROR_FILE")

VIRTUAL_INTERFACES = "^lo,docker,virbr,veth,br-,cni,flannel,cali,tailscale"


@dataclass(frozen=True)
class Rendezvous:
    """Where the ranks of one attempt find each other: the store's address, as all nodes reach it.

    ``attempt`` counts from this launcher's start: 1, and one more for each restart.
    """

    address: str
    port: int
    attempt: int
    world_size: int
    num_nodes: int
    job_id: str
    run_dir: str
    max_restarts: int


def rank_env(
    rendezvous: Rendezvous, place: Placement, local_rank: int, *, hide_gpus: bool = False
) -> dict[str, str]:
    """The variables of one rank that always hold. ``hide_gpus``: the job is for the CPU."""
    rank = place.first_rank + local_rank
    world_size = str(rendezvous.world_size)
    # torch must know whether a store is there to connect to. For one rank there is none: it hosts
    # one itself if it wants to, and so do groups of the processes that it starts.
    has_store = rendezvous.world_size > 1
    env = {
        "GROUP_RANK": str(place.node_rank),
        "GROUP_WORLD_SIZE": str(rendezvous.num_nodes),
        "LOCAL_RANK": str(local_rank),
        "LOCAL_WORLD_SIZE": str(place.num_ranks),
        "MASTER_ADDR": rendezvous.address,
        "MASTER_PORT": str(rendezvous.port),
        "PLAUNCH_RUN_DIR": rendezvous.run_dir,
        "RANK": str(rank),
        "ROLE_NAME": "default",
        "ROLE_RANK": str(rank),
        "ROLE_WORLD_SIZE": world_size,
        "TORCHELASTIC_MAX_RESTARTS": str(rendezvous.max_restarts),
        "TORCHELASTIC_RESTART_COUNT": str(rendezvous.attempt - 1),
        "TORCHELASTIC_RUN_ID": rendezvous.job_id,
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        "TORCHELASTIC_USE_AGENT_STORE": str(has_store),
        "WORLD_SIZE": world_size,
    }
    if place.gpus or hide_gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(place.gpus)
    return env


def default_env(place: Placement, cores: int, interface: str | None) -> dict[str, str]:
    """The variables of a node's ranks that yield to what the user has set."""
    env = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "OMP_NUM_THREADS": str(max(1, cores // place.num_ranks)),
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }
    if interface is not None:
        env["GLOO_SOCKET_IFNAME"] = interface
        if interface != "lo":
            env["NCCL_SOCKET_IFNAME"] = VIRTUAL_INTERFACES
    return env
