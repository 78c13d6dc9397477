"""Says where it is, and stays until a file called ``enough`` is in the run's folder.

A child in a session of its own, which nothing but a sweep finds, stays with it. It needs no torch,
so it is up at once: for tests of the launcher, of which torch's own part is not asked.
"""

import os
import subprocess
import time
from pathlib import Path

from launcher import report

enough = Path(os.environ["PLAUNCH_RUN_DIR"], "enough")
rank, world_size, host = os.environ["RANK"], int(os.environ["WORLD_SIZE"]), os.uname().nodename
with subprocess.Popen(["sleep", "1000"], start_new_session=True) as child:
    print(f"rank {rank} is process {os.getpid()}", flush=True)
    print(f"up: rank {rank} of {world_size} on {host}", flush=True)
    while not enough.exists():
        time.sleep(0.05)
    child.kill()
report({"host": host, "world_size": world_size})
