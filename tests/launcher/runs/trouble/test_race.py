"""The race: victims of a broken collective die first, and the verdict still names the culprit.

All 50 races of 50 that the project promises to win are run; ``RACES=10`` runs fewer.
"""

from __future__ import annotations

import json
import os

from tests.launcher.support.runs import Launcher

RACES = int(os.environ.get("RACES", "50"))

# Every attempt has another culprit, another delay and another way to die. The culprit first cuts
# its connections, and lives on until a collective of its peers has broken.
MAIN = """
import os, random, signal, socket, stat, time, torch, torch.distributed as dist
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
dice = random.Random(attempt)
culprit, way = dice.randrange(world), dice.choice(["raise", "exit", "kill"])
delay, broken = dice.uniform(0.0, 0.2), f"broken-{attempt}"
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
if rank != culprit:
    try:
        while True: dist.all_reduce(total)
    finally:
        open(broken, "w").close()
for name in os.listdir("/proc/self/fd"):
    try:
        if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
            line = socket.socket(fileno=os.dup(int(name)))
            if line.getpeername()[1:2] not in ((), (int(os.environ["MASTER_PORT"]),)):
                line.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
while not os.path.exists(broken): time.sleep(0.002)
time.sleep(delay)
if way == "exit": os._exit(3)
if way == "kill": os.kill(os.getpid(), signal.SIGKILL)
raise ValueError(f"the culprit of attempt {attempt}")
"""


def culprits() -> list[int]:
    """Who it is in each attempt, by the same dice as in the program."""
    import random

    return [random.Random(attempt).randrange(3) for attempt in range(RACES)]


def test_the_culprit_is_named_every_time(plaunch: Launcher) -> None:
    """Three nodes, one culprit an attempt: all verdicts name it, though victims failed before."""
    plaunch.write("main.py", MAIN)
    done = plaunch(
        "--nodes", "3", "--max-restarts", str(RACES - 1), "--timeout", "280", "main.py",
        deadline_s=290,
    )  # fmt: skip
    assert done.run_dir is not None
    events = [json.loads(row) for row in (done.run_dir / "events.jsonl").read_text().splitlines()]
    named = [event["rank"] for event in events if event["event"] == "failed"]
    assert named == culprits(), done.err
    assert done.result is not None
    assert done.result["attempts"] == RACES
    # The race was real: a victim's collective had broken before the culprit died.
    assert len(list(plaunch.folder.glob("broken-*"))) == RACES
