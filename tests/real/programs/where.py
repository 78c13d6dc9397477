"""Meets the other ranks and reports what it was given."""

import os
import sys

import torch.distributed as dist

from launcher import report

dist.init_process_group("gloo")
dist.barrier()
report(
    {
        "rank": os.environ["RANK"],
        "host": os.uname().nodename,
        "master": os.environ["MASTER_ADDR"],
        "threads": os.environ["OMP_NUM_THREADS"],
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "odd": os.environ.get("ODD"),
        "arguments": sys.argv[1:],
        "cwd": os.getcwd(),
    }
)
dist.destroy_process_group()
