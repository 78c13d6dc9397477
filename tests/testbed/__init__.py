"""Several real hosts on one machine: see `Testbed`."""

from tests.testbed.testbed import HostProcess, Testbed, wait_until

__all__ = ["HostProcess", "Testbed", "wait_until"]
