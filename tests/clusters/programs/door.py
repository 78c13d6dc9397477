"""The Python door: runs a function on every rank, and one that fails; prints what came back."""

import json
import sys

from launcher import launch
from launcher.api import JobFailed


def add(a: int, b: int) -> dict[str, object]:
    import os

    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.tensor([a * dist.get_rank() + b])
    dist.all_reduce(total)
    dist.destroy_process_group()
    return {"total": total.item(), "rank": int(os.environ["RANK"]), "list": torch.ones(2)}


def fail() -> None:
    import os

    if os.environ["RANK"] == "1":
        raise RuntimeError("on purpose")


def main() -> None:
    where = json.loads(sys.argv[1])
    found = launch(add, (2,), {"b": 1}, procs=2, quiet=True, **where)
    try:
        launch(fail, procs=2, quiet=True, **where)
        told = None
    except JobFailed as error:
        told = error.result.verdict
    assert told is not None
    print(json.dumps({"values": found.values, "culprit": told.rank, "kind": told.kind}))


if __name__ == "__main__":
    main()
