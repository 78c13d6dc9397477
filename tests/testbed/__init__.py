"""Several real hosts on one machine: `Testbed`; with a batch system on them: `Slurm`, `Ray`."""

from tests.testbed.ray import Ray
from tests.testbed.slurm import Slurm
from tests.testbed.testbed import HostProcess, Testbed, wait_until

__all__ = ["HostProcess", "Ray", "Slurm", "Testbed", "wait_until"]
