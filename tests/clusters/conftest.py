"""Real hosts for the tests marked ``hosts``; where they can't be had, the reason is told."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import RAY, SLURM, SSH, unit
from tests.support.alone import beside_others
from tests.testbed import HostProcess, Ray, Slurm, Testbed, wait_until

NUM_HOSTS = 4
FAKES = Path(__file__).parents[1] / "fakes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs real hosts by name and with the reason, where there can be none."""
    for item in items:
        if item.get_closest_marker("hosts"):
            fixtures = getattr(item, "fixturenames", ())
            kinds = [kind for kind in (Slurm, Ray) if kind.__name__.lower() in fixtures]
            reason = (kinds or [Testbed])[0].missing()
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=f"no real hosts: {reason}"))


@pytest.fixture(scope="session")
def _session_testbed() -> Iterator[Testbed]:
    with Testbed(NUM_HOSTS) as testbed:
        yield testbed


def _is_of(kind: str, request: pytest.FixtureRequest) -> None:
    """Or a second testbed of this kind would be brought up, by another of pytest's workers."""
    found = unit(request.node.nodeid)
    assert found == kind, f"tests/conftest.py takes this test for one of {found}, not of {kind}"


@pytest.fixture
def testbed(_session_testbed: Testbed, request: pytest.FixtureRequest) -> Iterator[Testbed]:
    """Four hosts and the login host. Afterwards no process of the test may be left on any."""
    _is_of(SSH, request)
    with beside_others():
        yield _session_testbed
        _session_testbed.restore()
        if left := _left_over(_session_testbed):
            _session_testbed.restore()
            pytest.fail(left)


@pytest.fixture(scope="session")
def _session_slurm() -> Iterator[Slurm]:
    with Testbed(NUM_HOSTS) as testbed, Slurm(testbed) as slurm:
        yield slurm


@pytest.fixture
def slurm(_session_slurm: Slurm, request: pytest.FixtureRequest) -> Iterator[Slurm]:
    """Four nodes with Slurm and the login host. Afterwards all jobs are cancelled and gone.

    No other process of the test may be left on any host.
    """
    _is_of(SLURM, request)
    with beside_others():
        yield _session_slurm
        _session_slurm.reset()
        if left := _left_over(_session_slurm.testbed):
            _session_slurm.reset()
            pytest.fail(left)


@pytest.fixture(scope="session")
def _session_ray() -> Iterator[Ray]:
    # A stand-in for NVIDIA's library, which tells of GPUs if a test puts that file there.
    fakes = {"PLAUNCH_GPU_DRIVER": "/shared/gpus.json", "PYTHONPATH": str(FAKES)}
    with Testbed(NUM_HOSTS) as testbed, Ray(testbed, env=fakes) as ray:
        yield ray


@pytest.fixture
def ray(_session_ray: Ray, request: pytest.FixtureRequest) -> Iterator[Ray]:
    """Four nodes with Ray. Afterwards nothing but Ray's daemons may be left on them."""
    _is_of(RAY, request)
    with beside_others():
        yield _session_ray
        hosts = range(NUM_HOSTS + 1)
        try:
            wait_until(
                lambda: not any(map(_session_ray.jobs, hosts)), "nothing of jobs is left", 20
            )
            left = []
        except TimeoutError:
            left = [
                f"host{host}: {p.pid} {p.cmdline}"
                for host in hosts
                for p in _session_ray.jobs(host)
            ]
            _session_ray.down()
            _session_ray.up()
        _session_ray.restore()
        if left:
            pytest.fail("processes were left behind:\n" + "\n".join(left))


@pytest.fixture
def ray_gpus(ray: Ray) -> Iterator[dict[str, str]]:
    """Eight GPUs on each of Ray's hosts, of the stand-in; the variables for plaunch."""
    file = ray.testbed.shared / "gpus.json"
    file.write_text(json.dumps({"gpus": [{"uuid": f"GPU-{number}"} for number in range(8)]}))
    yield {"PYTHONPATH": str(FAKES), "PLAUNCH_GPU_DRIVER": "/shared/gpus.json"}
    file.unlink()


def _left_over(testbed: Testbed) -> str | None:
    """What processes are left; a host with any is crashed, or the next tests suffer from it."""

    def find() -> list[tuple[int, HostProcess]]:
        numbers = range(NUM_HOSTS + 1)
        return [(number, process) for number in numbers for process in testbed.processes(number)]

    try:
        wait_until(lambda: not find(), "every host is empty again", 20)
    except TimeoutError:
        left = find()
        for number in {number for number, _ in left}:
            testbed.crash(number)
        lines = [f"host{number}: {process.pid} {process.cmdline}" for number, process in left]
        return "processes were left behind:\n" + "\n".join(lines)
    return None


@pytest.fixture
def ssh_folder(testbed: Testbed) -> Iterator[Path]:
    """The login user's ~/.ssh, from outside; afterwards it is as before."""
    folder = testbed.path("host0") / "root/.ssh"
    before = {path.name: (path.stat().st_mode, path.read_bytes()) for path in folder.iterdir()}
    yield folder
    for path in folder.iterdir():
        path.unlink()
    for name, (mode, content) in before.items():
        (folder / name).touch(mode)
        (folder / name).write_bytes(content)


@pytest.fixture
def sshd(testbed: Testbed) -> Iterator[Callable[..., None]]:
    """Start further sshds with options of their own, as ``sshd(host, port, *options)``."""
    started = []

    def start(host: str, port: int, *options: str) -> None:
        words = [word for option in options for word in ("-o", option)]
        argv = ["/usr/sbin/sshd", "-D", "-e", "-p", str(port), *words]
        process = testbed.run(host, argv, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        while "Server listening" not in (line := process.stderr.readline()):
            assert line, "sshd ended"

    yield start
    for process in started:
        process.terminate()
        process.wait(10)
        process.stderr.close()
