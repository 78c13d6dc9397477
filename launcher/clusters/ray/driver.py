"""A process of its own that speaks with Ray for one run, so that Ray can't harm the launcher.

Ray's library ends the process that it lives in when the local raylet or the head is gone, prints
what it likes, and installs signal handlers. Here all that is no loss: the launcher sees this
process end, and says so. It is Ray's driver, so when it ends, Ray ends what it has in the cluster.

Orders come as lines of JSON on standard input, answers and news go out as lines of JSON. The end of
the input is the end of the process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Do what the launcher says until it goes."""
    news = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Ray prints is no answer
    writing = threading.Lock()

    def tell(message: Mapping[str, Any]) -> None:
        with writing:
            news.write(json.dumps(message) + "\n")
            news.flush()

    orders: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    from launcher.clusters.ray.connection import Problem
    from launcher.clusters.ray.placement_group import Claims

    claims = Claims(tell)
    while True:
        order = orders.get()
        try:
            tell({"answer": getattr(claims, order.pop("do"))(**order)})
        except Problem as problem:
            tell({"problems": problem.rows})


def _listen(orders: SimpleQueue[dict[str, Any]]) -> None:
    """Read orders. At the end of input the process ends, whatever Ray is waiting for just then."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)
