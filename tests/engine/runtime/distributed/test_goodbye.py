"""How a rank that is done leaves."""

from __future__ import annotations

import pytest

PROGRAM = """
import json, os, sys
import torch, torch.distributed as dist
from engine.runtime.distributed.world import join_group, read_world

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # threads of the group come late then
join_group(read_world(), torch.device("cpu"))
held = dist.group.WORLD  # as FSDP's layers and DistributedDataParallel hold it
json.dump(True, open(sys.argv[1], "w"))
for _ in range(20):
    found = [torch.empty(1000) for _ in range(2)]
    dist.all_gather(found, torch.zeros(1000))
    del found
"""


@pytest.mark.parametrize("time", range(4))
def test_a_rank_that_is_done_is_not_aborted(run_ranks, time):
    """Its last collective is over when python ends, also where something still holds the group:
    the process ends with 0, and not by a signal."""
    assert run_ranks(PROGRAM, 2) == [True, True]
