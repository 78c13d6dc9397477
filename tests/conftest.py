"""What all tests share: the closing summary names what this machine could not run."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.slow import slow

# Torch's threads wait actively for their share of a small tensor: with two workers on two cores
# they take a quarter of the time. Inherited by all that is started here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REQUIRE_HOSTS = "PLAUNCH_REQUIRE_HOSTS"
REAL = "tests/clusters/"
WHOLE_RUNS = (
    "test_gpu_runs.py",
    "test_docs.py",
    "test_examples.py",
    "test_examples_digits.py",
    "test_testbed.py",
)


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' runs are not noted among the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


# A shell starts what it puts in the background with SIGINT and SIGQUIT ignored, nohup with SIGHUP;
# all that we start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)


SLURM, RAY, SSH = "real hosts with SLURM", "real hosts with Ray", "real hosts"
ENGINE = "the engine"
ENGINE_FOLDERS = ("tests/engine/", "tests/seeds/", "tests/docs/test_examples")
ORDER = (SLURM, RAY, ENGINE, SSH)


def unit(nodeid: str) -> str:
    """What a test shares with others: its file, or a testbed, so that each is brought up once."""
    if not nodeid.startswith(REAL):
        return nodeid.partition("::")[0]
    if re.search(r"/test_ray|test_on_ray|\[ray[]-]", nodeid):
        return RAY
    on_slurm = r"slurm|login_node|srun|ready_scripts|_batch_script|from_the_login_node"
    return SLURM if re.search(on_slurm, nodeid) else SSH


def _real_host(report: pytest.TestReport | pytest.CollectReport) -> bool:
    return REAL in report.nodeid or "hosts" in getattr(report, "keywords", {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts whole runs, on this machine or on hosts: `make test-quick` leaves it out.

    SLURM's and Ray's come first: they take longest, and wait much. Hosts alone come when Ray is
    through, so that not all kinds of testbeds are at work at once.
    """
    long = slow()
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"plaunch", "testbed", "slurm", "project"} or item.path.name in WHOLE_RUNS:
            item.add_marker("cluster")
        if item.nodeid.partition("[")[0] in long:
            item.add_marker("slow")

    def place(item: pytest.Item) -> int:
        name = ENGINE if item.nodeid.startswith(ENGINE_FOLDERS) else unit(item.nodeid)
        return ORDER.index(name) if name in ORDER else len(ORDER)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Nothing that was imported (torch has a million objects) is searched for garbage again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With several workers (pytest-xdist) the tests of a unit are one worker's, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    return ByUnit(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say by name what was skipped and why, and whether real hosts were tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"could not run here: {report.nodeid}: {reason}")
    passed = [r for r in terminalreporter.stats.get("passed", []) if _real_host(r)]
    terminalreporter.write_line(f"tests on real hosts: {len(passed)} passed")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where real hosts are required, a skipped test of them, or none at all, is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get(REQUIRE_HOSTS) or reporter is None or exitstatus != 0:
        return
    missed = [r for r in reporter.stats.get("skipped", []) if _real_host(r)]
    ran = [r for r in reporter.stats.get("passed", []) if _real_host(r)]
    if missed or not ran:
        reporter.write_line(
            f"{REQUIRE_HOSTS} is set, but {len(missed)} real-host tests were "
            f"skipped and {len(ran)} ran"
        )
        session.exitstatus = 1
