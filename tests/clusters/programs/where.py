"""Reports what it was given. It needs no torch, so it is up at once."""

import os
import sys

from launcher import report

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
