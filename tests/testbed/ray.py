"""A real Ray on the hosts of a testbed: see `Ray`."""

import contextlib
import functools
import importlib.util
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import TracebackType

from tests.testbed.testbed import HostProcess, Testbed, wait_until

PORT = 6379
UP_S = 120  # Ray takes 5 to 10 s where it is not alone on the machine

# What Ray itself runs on a node, by words of the command line. Anything else belongs to a job.
_DAEMONS = (
    "/gcs_server",
    "/raylet",
    "/monitor.py",
    "/log_monitor.py",
    "/dashboard/dashboard.py",
    "/dashboard/agent.py",
    "/runtime_env/agent/main.py",
    "ray.util.client.server",
    "ray-dashboard-",
    "ray.dashboard.",  # the server that the dashboard's parts are forked from
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
    "ray::IDLE",
    "/_private/workers/default_worker.py",  # until it has the name of what it does
    "/_private/workers/setup_worker.py",
)
# Ray alone takes up to a minute to forget a lost node; a node that ends in order says this.
_FORGET = """\
import sys, grpc, ray
from ray.core.generated import gcs_service_pb2 as messages, gcs_service_pb2_grpc as services
head, *lost = sys.argv[1:]
with grpc.insecure_channel(head) as channel:
    nodes = services.NodeInfoGcsServiceStub(channel)
    for node in nodes.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=30).node_info_list:
        if node.state == node.ALIVE and node.node_manager_address in lost:
            gone = messages.UnregisterNodeRequest(node_id=node.node_id)
            gone.node_death_info.reason = gone.node_death_info.EXPECTED_TERMINATION
            nodes.UnregisterNode(gone, timeout=30)
"""


class Ray:
    """A Ray cluster: its head on host1, a worker node on each other host.

        with Testbed(4) as bed, Ray(bed) as ray:
            bed.run("host1", ["ray", "status"]).wait()

    Programs that use it run on one of these hosts: Ray has no drivers elsewhere, so not on host0.
    All nodes say that they have ``num_gpus`` GPUs and ``num_cpus`` processors, whatever there is.
    """

    def __init__(
        self,
        testbed: Testbed,
        *,
        num_gpus: int = 8,
        num_cpus: int = 4,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.testbed = testbed
        self.hosts = range(1, testbed.num_hosts + 1)
        self._resources = [f"--num-gpus={num_gpus}", f"--num-cpus={num_cpus}"]
        # A worker is started when it is needed, not one for each processor when a driver comes.
        self._env = {"RAY_prestart_worker_first_driver": "0", **(env or {})}
        self._damaged: set[int] = set()  # hosts

    @staticmethod
    @functools.cache
    def missing() -> str | None:
        """Why this machine can't have a Ray, or None if it can."""
        if importlib.util.find_spec("ray") is None:
            return "needs ray (pip install 'ray[default]')"
        return Testbed.missing()

    def __enter__(self) -> "Ray":
        self.up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.down()

    @property
    def address(self) -> str:
        """Where the cluster is found, as RAY_ADDRESS has it."""
        return f"{self.testbed.address(1)}:{PORT}"

    @property
    def dashboard(self) -> str:
        """Where `ray job submit` sends jobs."""
        return f"http://{self.testbed.address(1)}:8265"

    def up(self) -> None:
        """Start the head and all workers; a broken start leaves nothing behind."""
        for is_last in (False, False, True):
            try:
                self._up()
                return
            except BaseException as error:
                self.down()
                if is_last or not isinstance(error, RuntimeError):
                    raise

    def _up(self) -> None:
        """Start all nodes at once. On a very busy machine Ray gives up, after 30 s of its own."""
        head = self._start(1, ["--head", f"--port={PORT}", "--dashboard-host=0.0.0.0"])
        workers = {host: self._start_worker(host) for host in self.hosts[1:]}
        _finish(head)
        self._finish_workers(workers)

    def _finish_workers(self, workers: Mapping[int, "subprocess.Popen[str]"]) -> None:
        for host, process in workers.items():
            try:
                _finish(process)
            except RuntimeError:  # it may have waited for the head so long
                self.start_worker(host)

    def down(self) -> None:
        """End Ray and all that runs in it."""
        for host in self.hosts:
            self._empty(host)

    def start_worker(self, host: int) -> None:
        """Start the node of a host again, after its raylet was killed or the host booted."""
        self._empty(host)
        _finish(self._start_worker(host))

    def restore(self) -> None:
        """Be as after `up`: nodes that were lost are started anew, with the head all of them."""
        self.testbed.restore()
        if self._damaged:
            try:
                self._start_lost_ones()
            except (RuntimeError, subprocess.TimeoutExpired):
                self.down()
                self.up()
            self._damaged.clear()

    def _start_lost_ones(self) -> None:
        if 1 in self._damaged:
            raise RuntimeError("the head is lost")
        for host in self._damaged:
            self._empty(host)
        lost = [self.testbed.address(host) for host in self._damaged]
        forget = self.testbed.call(1, ["python", "-c", _FORGET, self.address, *lost])
        if forget.returncode != 0:
            raise RuntimeError(f"Ray forgets no nodes:\n{forget.stderr}")
        self._finish_workers({host: self._start_worker(host) for host in self._damaged})

    def crash(self, host: int) -> None:
        """Switch a host off."""
        self._damaged.add(host)
        self.testbed.crash(host)

    def cut(self, host: int) -> None:
        """Cut a host's cable."""
        self._damaged.add(host)
        self.testbed.cut(host)

    def kill_raylet(self, host: int) -> None:
        """kill -9 of the process that is the node to Ray."""
        self._damaged.add(host)
        raylet = next(p for p in self.testbed.processes(host) if _program(p).endswith("/raylet"))
        os.kill(raylet.pid, signal.SIGKILL)

    def jobs(self, host: int) -> list[HostProcess]:
        """What runs on a host but Ray's own daemons: actors, and all that they started.

        After a fault only the latter: Ray may have lost its hold on the actors of a lost node.
        """
        there = self.testbed.processes(host)
        daemons = {one.pid for one in there if _is_daemon(one)}
        # The daemons' own children, too; the raylet's are workers, and looked at themselves.
        daemons |= {one.pid for one in there if one.parent in daemons and not _is_worker(one)}
        found = [one for one in there if one.pid not in daemons]
        return [one for one in found if not (self._damaged and _is_worker(one))]

    def _start(self, host: int, words: Sequence[str]) -> "subprocess.Popen[str]":
        argv = ["ray", "start", *words, *self._resources]
        argv += [f"--node-ip-address={self.testbed.address(host)}", "--disable-usage-stats"]
        argv += ["--object-store-memory=100000000"]
        return self.testbed.run(
            host,
            argv,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _start_worker(self, host: int) -> "subprocess.Popen[str]":
        return self._start(host, [f"--address={self.address}"])

    def _empty(self, host: int) -> None:
        """End all of a host's processes, also those that are being started."""

        def is_empty() -> bool:
            left = self.testbed.processes(host)
            for process in left:
                _kill(process)
            return not left

        wait_until(is_empty, f"nothing runs on host{host}", 20)


def _finish(process: "subprocess.Popen[str]") -> None:
    """Wait for a `ray start`; its daemons live on."""
    try:
        said, _ = process.communicate(timeout=UP_S)
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"ray start failed:\n{said}")


def _program(process: HostProcess) -> str:
    return process.cmdline[0] if process.cmdline else ""


def _is_daemon(process: HostProcess) -> bool:
    # The first words only: the raylet's own command line holds those of its workers.
    words = process.cmdline[:4] if not _program(process).endswith("/raylet") else ("/raylet",)
    return any(daemon in word for word in words for daemon in _DAEMONS)


def _is_worker(process: HostProcess) -> bool:
    return _program(process).startswith("ray::")


def _kill(process: HostProcess) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
