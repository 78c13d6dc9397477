"""A task that `srun` started: SLURM's variables in torchrun's words. Pure.

    srun --ntasks-per-node=2 python train.py

Only what srun sets for a step counts: a batch script and the shell of `salloc` have a rank and a
number of tasks in their environment, too, and are alone all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

FIRST_PORT, NUM_PORTS = 15000, 15000  # below those that Linux gives to whoever asks for any
_FIRST_SPECIAL_STEP = 0xFFFFFFF0  # steps of SLURM's own: the batch script, an interactive shell


def torchrun_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would have set for this task; nothing if srun did not start several of us.

    A `MASTER_ADDR` or `MASTER_PORT` of the user's counts.
    """
    if "RANK" in env or not _is_one_of_several(env):
        return {}
    node = int(env.get("SLURM_NODEID", 0))
    tasks = env["SLURM_STEP_NUM_TASKS"]
    per_node = tasks_per_node(env.get("SLURM_STEP_TASKS_PER_NODE", ""))
    here = str(per_node[node]) if node < len(per_node) else tasks
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "")
    return {
        "RANK": env["SLURM_PROCID"],
        "LOCAL_RANK": env["SLURM_LOCALID"],
        "WORLD_SIZE": tasks,
        "LOCAL_WORLD_SIZE": here,
        "GROUP_RANK": str(node),
        "MASTER_ADDR": env.get("MASTER_ADDR") or first_host(nodes) or "127.0.0.1",
        "MASTER_PORT": env.get("MASTER_PORT") or str(port_of(env)),
    }


def _is_one_of_several(env: Mapping[str, str]) -> bool:
    needed = ("SLURM_STEP_ID", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if any(not env.get(name, "").isdigit() for name in needed):
        return False
    step = int(env["SLURM_STEP_ID"])
    # The shell of `srun --pty bash`: what is started in it by srun is of a later step.
    is_shell = "SLURM_PTY_PORT" in env and step == 0
    return step < _FIRST_SPECIAL_STEP and not is_shell and int(env["SLURM_STEP_NUM_TASKS"]) > 1


def tasks_per_node(text: str) -> list[int]:
    """The number of tasks on each node, from `2(x3),1`."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if found is None:
            return []
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def first_host(nodes: str) -> str:
    """The first name in a list such as `gpu[01-03,7],login2`; the first task runs there."""
    found = re.match(r"([^,\[]*)(?:\[(\w+)[^\]]*\]([^,\[]*))?", nodes.strip())
    return "" if found is None else "".join(part or "" for part in found.groups())


def port_of(env: Mapping[str, str]) -> int:
    """The port that all tasks of a step find by themselves; another one for each step."""
    job = int(re.sub(r"\D", "", env.get("SLURM_JOB_ID", "")) or 0)
    return FIRST_PORT + (job * 7 + int(env["SLURM_STEP_ID"])) % NUM_PORTS
