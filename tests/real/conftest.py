"""Real hosts for the tests marked ``hosts``; where they can't be had, the reason is told."""

from collections.abc import Iterator

import pytest

from tests.testbed import HostProcess, Testbed, wait_until

NUM_HOSTS = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs real hosts by name and with the reason, where there can be none."""
    marked = [item for item in items if item.get_closest_marker("hosts")]
    reason = Testbed.missing() if marked else None
    if reason is not None:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"no real hosts: {reason}"))


@pytest.fixture(scope="session")
def _session_testbed() -> Iterator[Testbed]:
    with Testbed(NUM_HOSTS) as testbed:
        yield testbed


@pytest.fixture
def testbed(_session_testbed: Testbed) -> Iterator[Testbed]:
    """Four hosts and the login host. Afterwards no process of the test may be left on any."""
    yield _session_testbed
    try:
        _session_testbed.restore()
        wait_until(lambda: not _left_over(_session_testbed), "every host is empty again", 5)
    except TimeoutError:
        left = _left_over(_session_testbed)
        for host in {host for host, _ in left}:  # or the next tests suffer from it
            _session_testbed.crash(host)
        _session_testbed.restore()
        lines = [f"{host}: {process.pid} {process.cmdline}" for host, process in left]
        pytest.fail("processes were left behind:\n" + "\n".join(lines))


def _left_over(testbed: Testbed) -> list[tuple[str, HostProcess]]:
    hosts = [f"host{number}" for number in range(NUM_HOSTS + 1)]
    return [(host, process) for host in hosts for process in testbed.processes(host)]
