"""Several real hosts on one machine: see `Testbed`; with Slurm on them: see `Slurm`."""

from tests.testbed.slurm import Slurm
from tests.testbed.testbed import HostProcess, Testbed, wait_until

__all__ = ["HostProcess", "Slurm", "Testbed", "wait_until"]
