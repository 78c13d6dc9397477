"""Waits until a run with another folder beside ours is up, too."""

import os
import time
from pathlib import Path

from launcher import report

mine = Path(os.environ["PLAUNCH_RUN_DIR"])
(mine / f"up{os.environ['RANK']}").touch()
deadline = time.monotonic() + 60
while len(list(mine.parent.glob("*/up?"))) < 2 * int(os.environ["WORLD_SIZE"]):
    assert time.monotonic() < deadline, "the other run is not up"
    time.sleep(0.05)
report("has met the other")
