"""Does what its first argument says, after all ranks have met."""

import os
import subprocess
import sys

import torch
import torch.distributed as dist

from launcher import report


def main() -> None:
    how = sys.argv[1]
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    total = torch.tensor([rank])
    dist.all_reduce(total)
    if how == "report":
        report(
            {
                "rank": rank,
                "sum": total.item(),
                "group": os.environ["GROUP_RANK"],
                "arguments": sys.argv[2:],
                "odd": os.environ.get("ODD"),
                "loss": float("nan"),
            }
        )
        print(f"rank {rank} prints", flush=True)
        dist.destroy_process_group()
        return
    # a child in a session of its own, which nothing but a sweep finds
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if how == "raise" and rank == 3:
        raise ValueError("this is the culprit")
    if how == "exit" and rank == 2:
        sys.exit(7)
    dist.barrier()  # the others wait for the one that failed


if __name__ == "__main__":
    main()
