"""A run of plaunch on the testbed's Ray, and what is left there."""

import json
from typing import Any

from tests.clusters.runs import Run
from tests.testbed import Ray, wait_until


class RayRun(Run):
    """``plaunch --cluster ray`` on host1; on the CPU, unless ``words`` say otherwise."""

    def __init__(
        self, ray: Ray, *words: str, procs: int = 1, all_gpus: bool = False, **options: Any
    ) -> None:
        if "--gpus" not in words and not all_gpus:
            words = ("--gpus", "0", *words)
        options = {"hosts": "", "on": "host1", **options}
        super().__init__(ray.testbed, "--cluster", "ray", *words, procs=procs, **options)

    @property
    def values(self) -> list[Any]:
        """What each rank reported."""
        return [rank["value"] for rank in self.result["ranks"]]


def wait_until_empty(ray: Ray, hosts: tuple[int, ...], timeout_s: float = 20) -> None:
    """Wait until nothing of jobs is left on these hosts."""
    wait_until(lambda: not any(map(ray.jobs, hosts)), f"{hosts} are empty", timeout_s)


def claimed(ray: Ray) -> dict[str, float]:
    """What of the cluster's GPUs and CPUs is claimed by anybody."""
    program = """\
import json, ray
ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
there, free = ray.cluster_resources(), ray.available_resources()
print(json.dumps({name: there[name] - free.get(name, 0) for name in ("CPU", "GPU")}))"""
    done = ray.testbed.call("host1", ["python", "-c", program])
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout)
    return found
