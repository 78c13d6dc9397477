"""After an all-reduce, one rank of the first attempt dies while the others are at work.

    die.py RANK [restarts]

With ``restarts`` a second attempt ends well after its first all-reduce.
"""

import os
import sys
import time

import torch
import torch.distributed as dist
from mark import mark

dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
mark("reduced")
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == sys.argv[1]:
        time.sleep(0.5)
        mark("dying")
        os._exit(3)
    time.sleep(1000)
dist.destroy_process_group()
