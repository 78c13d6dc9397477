"""Says when a rank came to a point: one file a rank, in the folder the run was started in."""

import json
import os
import socket
import time


def mark(event: str, **more: object) -> None:
    """Leave ``EVENT-ATTEMPT-RANK.json`` with the wall clock, whole or not at all."""
    now = time.time()
    rank = os.environ.get("RANK", "0")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    place = os.environ.get("BENCHMARK_MARKS", ".")
    path = os.path.join(place, f"{event}-{attempt}-{rank}.json")
    found = {"time": now, "rank": rank, "pid": os.getpid(), "host": socket.gethostname(), **more}
    with open(path + ".part", "w") as file:
        json.dump(found, file)
    os.replace(path + ".part", path)
