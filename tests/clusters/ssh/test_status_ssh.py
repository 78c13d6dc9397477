"""`plaunch status`, `logs` and `cancel` of a run on SSH hosts, from its own host and another."""

import json

import pytest

from tests.clusters.runs import Run
from tests.testbed import Testbed

pytestmark = pytest.mark.hosts


def test_from_another_terminal_and_from_another_host(testbed: Testbed) -> None:
    """Elsewhere it is told where to cancel it; there, it is cancelled, and nothing is left."""
    script = "echo rank $RANK waits; exec sleep 600"
    with Run(testbed, "--no-python", "sh", "-c", script, hosts="host[1-2]", procs=1) as run:
        run.wait_for("waits", 2)
        run_dir = f"/shared/{run.folder.name}"

        def words(host: str, *argv: str) -> tuple[int, str, str]:
            done = testbed.call(host, ["plaunch", *argv], cwd="/", timeout_s=90)
            return done.returncode, done.stdout, done.stderr

        code, out, _ = words("host0", "status", "--json")
        (job,) = [job for job in json.loads(out) if job["run_dir"] == run_dir]
        assert (code, job["state"], job["cluster"], job["host"]) == (0, "running", "ssh", "host0")
        code, out, _ = words("host3", "status", run_dir)
        assert (code, job["job_id"] in out) == (0, True)
        assert words("host3", "logs", run_dir)[1].count("waits") == 2
        code, _, err = words("host3", "cancel", run_dir)
        assert (code, "on host0: there, type `plaunch cancel /shared/" in err) == (3, True), err
        code, _, err = words("host0", "cancel", job["job_id"])
        assert (code, err) == (0, f"plaunch: job {job['job_id']}: cancelled\n")
        assert run.processes() == []
        assert run.wait(30) == 130
        assert run.result["state"] == "cancelled"
