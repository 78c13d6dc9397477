"""What this torch's gloo has, for tests of both packages."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def threads_have_names(seen: Callable[[], object]) -> bool:
    """Whether a process group's threads have the names by which ``seen`` looks for them."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        return True  # 2.9 gives them no names: a pause in place of a look
    group = torch.distributed.ProcessGroupGloo(torch.distributed.HashStore(), 0, 1)
    deadline = time.monotonic() + 30
    while not seen() and time.monotonic() < deadline:
        time.sleep(0.01)  # a thread takes its name when it has begun
    return bool(seen()) and group is not None
