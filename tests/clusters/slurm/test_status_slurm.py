"""`plaunch status`, `logs` and `cancel` of jobs on a real SLURM, from its login host.

The login host's user folder is not the nodes': what is known there was noted at the submission.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed import Slurm, Testbed, wait_until

pytestmark = pytest.mark.hosts

# A rank says that it is there, and ends when the test lets it.
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
PROGRAM = """\
echo rank $RANK of $WORLD_SIZE on $(hostname)
until test -e "$1"; do sleep 0.05; done
echo went
"""
COUNTING = """\
#!/bin/sh
echo {name} >>/shared/calls
exec /usr/bin/{name} "$@"
"""


class Login:
    """The `plaunch` command on the login host, in a folder of the test's own that nodes see."""

    def __init__(self, slurm: Slurm, *, one_home: bool = False) -> None:
        self.slurm, self.bed = slurm, slurm.testbed
        self.name = f"/shared/status-{uuid.uuid4().hex[:8]}"
        self.folder = self.bed.shared / self.name.removeprefix("/shared/")
        self.folder.mkdir(mode=0o777)
        (self.folder / "program.sh").write_text(PROGRAM)
        state = f"{self.name}/state" if one_home else f"/root/state-{self.name[-8:]}"
        self.env = {"XDG_STATE_HOME": state}

    def __call__(
        self, *words: str, cwd: str | None = None, code: int = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        env = {**self.env, **options.pop("env", {})}
        done = self.bed.call(
            "host0", ["plaunch", *words], cwd=cwd or self.name, env=env, timeout_s=120, **options
        )
        assert done.returncode == code, f"{words}: {done}"
        return done

    def submit(self, *words: str, nodes: int = 1, go: str = "go") -> str:
        """Submit the program and return SLURM's id; `let_go` lets it end."""
        what = ("--no-python", "sh", "program.sh", f"{self.name}/{go}")
        done = self("--cluster", "slurm", "--nodes", str(nodes), "--detach", *words, *what)
        return done.stdout.strip()

    def status(self, *words: str, **options: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self("status", "--json", *words, **options).stdout)
        return found

    def until(self, job_id: str, state: str) -> dict[str, Any]:
        """Wait until `plaunch status` tells a state."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = self.status(job_id)
            return found[0]["state"] == state

        wait_until(look, f"{job_id} is {state}", 60)
        return found[0]

    def until_it_speaks(self, job_id: str, ranks: int = 1) -> None:
        """Wait until all ranks have said that they are there."""

        def spoken() -> bool:
            return self("logs", job_id).stdout.count(f" of {ranks} on ") == ranks

        wait_until(spoken, f"{job_id} speaks", 60)

    def let_go(self, go: str = "go") -> None:
        (self.folder / go).touch()


@pytest.fixture
def login(slurm: Slurm) -> Login:
    return Login(slurm)


@pytest.fixture(params=[False, True], ids=["own home", "one home"])
def any_login(slurm: Slurm, request: pytest.FixtureRequest) -> Login:
    """Whether or not the nodes note their runs where the login host sees it."""
    return Login(slurm, one_home=request.param)


@pytest.fixture
def full(slurm: Slurm) -> Callable[[], None]:
    """All nodes are taken by somebody's job; call it to end that."""
    job = slurm.submit("sleep 600", "--nodes=4", "--exclusive")
    slurm.wait_for(job, "RUNNING")
    return lambda: slurm.testbed.call("host0", ["scancel", job]).check_returncode()


def test_from_the_queue_to_the_end(login: Login, full: Callable[[], None]) -> None:
    """A job waits for a reason, runs, and has succeeded; its logs come from another folder."""
    job_id = login.submit(nodes=2)
    reasons = ("Resources", "Priority")
    job = login.until(job_id, "queued")
    wait_until(lambda: login.status(job_id)[0]["slurm_job"]["reason"] in reasons, "a reason", 20)
    assert (job["slurm"], job["job_id"], job["over"]) == (job_id, None, False)
    table = login("status", cwd="/").stdout.splitlines()
    assert len(table) == 2
    assert f"  {job_id}  " in table[1]
    assert "queued (" in table[1]
    answer = login("logs", job_id)
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"plaunch: SLURM job {job_id}: queued (")
    words = ["plaunch", "logs", "--follow", job_id]
    follower = login.bed.run("host0", words, cwd="/", env=login.env, **PIPES)
    with follower:
        assert follower.stderr is not None
        try:
            said = follower.stderr.readline()
            assert said.startswith(f"plaunch: SLURM job {job_id}: queued ("), said
            full()
            login.until_it_speaks(job_id, 2)
            job = login.until(job_id, "running")
            assert (job["world_size"], job["attempts"], job["host"]) == (2, 1, "host1")
            text = login("status", job["job_id"]).stdout
            assert f"job {job['job_id']} (SLURM job {job_id}): running\n" in text
            assert "host[1-2]" in text
            login.let_go()
            out, err = follower.communicate(timeout=90)
        finally:
            follower.kill()
    assert sorted(out.splitlines()) == [
        "[rank 0] rank 0 of 2 on host1",
        "[rank 0] went",
        "[rank 1] rank 1 of 2 on host2",
        "[rank 1] went",
    ]
    assert follower.returncode == 0
    assert err.endswith(f"job {job['job_id']} (SLURM job {job_id}): succeeded\n")
    assert login.until(job_id, "succeeded")["exit_code"] == 0


def test_cancelled_while_it_waits_and_while_it_runs(login: Login, slurm: Slurm) -> None:
    """Its state in SLURM is told; it is not queued again; twice is no error."""
    running = login.submit("--requeue")
    login.until_it_speaks(running)
    waiting = login.submit("--sbatch=--hold")
    assert "it is held" in login.until(waiting, "queued")["reason"]
    done = login("cancel", running, waiting)
    assert done.stderr == (
        f"plaunch: SLURM job {running}: cancelled\nplaunch: SLURM job {waiting}: cancelled\n"
    )
    assert [slurm.job(job)["JobState"] for job in (running, waiting)] == ["CANCELLED"] * 2
    assert slurm.job(running)["Restarts"] == "0"
    assert [job["state"] for job in login.status(running, waiting)] == ["cancelled"] * 2
    again = login("cancel", running)
    assert "nothing to cancel: it is over: cancelled" in again.stderr


def test_by_plaunchs_own_id(any_login: Login) -> None:
    """The id that a job has once it runs means the job in SLURM as well."""
    login = any_login
    job_id = login.submit()
    login.until_it_speaks(job_id)
    own = login.status(job_id)[0]["job_id"]
    assert f"plaunch: SLURM job {job_id}: cancelled\n" in login("cancel", own).stderr
    assert login.status(own)[0]["state"] == "cancelled"


def test_preempted_and_back(login: Login, slurm: Slurm) -> None:
    """A job that goes back into the queue is not over: its logs are followed on."""
    (login.folder / "program.sh").write_text("trap 'exit 75' TERM\n" + PROGRAM)
    job_id = login.submit("--requeue")
    login.until_it_speaks(job_id)
    words = ["plaunch", "logs", "--follow", job_id]
    with login.bed.run("host0", words, env=login.env, **PIPES) as reader:
        try:
            assert reader.stdout is not None
            first, line = reader.stdout.readline(), ""
            login.bed.call("host0", ["scontrol", "requeue", job_id]).check_returncode()
            job = login.until(job_id, "queued")
            assert (job["attempts"], job["preemptions"], job["over"]) == (1, 1, False)
            assert [past["state"] for past in job["history"]] == ["preempted"]
            assert reader.stderr is not None
            while "queued (it may not begin before a certain time (BeginTime))" not in line:
                line = reader.stderr.readline()
                assert line, "it is not told why the job waits"
            slurm.wait_until_back(job_id)
            wait_until(lambda: login.status(job_id)[0]["attempts"] == 2, "it goes on", 60)
            login.let_go()
            out, err = reader.communicate(timeout=90)
        finally:
            reader.kill()
    lines = [line for line in (first + out).splitlines() if line != "Terminated"]  # sh's own word
    assert lines == ["rank 0 of 1 on host1", "rank 0 of 1 on host1", "went"]
    assert err.endswith(": succeeded\n")
    text = login("status", job_id).stdout
    assert "attempts   2, 1 ended by preemption\n" in text
    assert "1: preempted" in text


def test_without_a_result(login: Login) -> None:
    """The job has failed before plaunch could begin: what SLURM knows, and what it has kept."""
    (login.folder / "cluster.yaml").write_text("cluster: slurm\npython: /no/such/python\n")
    script = login("--cluster", "cluster.yaml", "--dry-run", "--no-python", "true").stdout
    answer = login.slurm.submit(script, f"--chdir={login.name}")
    login.slurm.wait_for(answer, "FAILED")
    job = login.status(answer)[0]
    assert job["state"] == "failed"
    assert "127" in job["reason"]
    logs = login("logs", answer)
    assert "/no/such/python" in logs.stderr


def test_one_call_however_many_jobs(login: Login) -> None:
    """Three jobs in SLURM, one squeue; one of them, one scontrol; only finished ones, none."""
    counting = login.folder / "bin"
    counting.mkdir()
    for name in ("squeue", "scontrol", "sacct"):
        (counting / name).write_text(COUNTING.format(name=name))
        (counting / name).chmod(0o755)
    path = login.bed.call("host0", ["sh", "-c", "echo $PATH"]).stdout.strip()
    env = {"PATH": f"{login.name}/bin:{path}"}
    calls = login.bed.shared / "calls"
    jobs = [login.submit() for _ in range(3)]
    for job in jobs:
        login.until_it_speaks(job)
    calls.unlink(missing_ok=True)
    assert [job["state"] for job in login.status(env=env)] == ["running"] * 3
    assert calls.read_text() == "squeue\n"
    calls.unlink()
    login("status", jobs[0], env=env)
    assert calls.read_text() == "scontrol\n"
    calls.unlink()
    login.let_go()
    for job in jobs:
        login.until(job, "succeeded")
    calls.unlink(missing_ok=True)
    assert [job["state"] for job in login.status(env=env)] == ["succeeded"] * 3
    assert not calls.exists()


def test_an_array(any_login: Login) -> None:
    """Its tasks are jobs of their own; a task's end is not the others'."""
    login = any_login
    array = login.submit("--array", "0-3%2")
    wait_until(lambda: len(login.status(array)) == 3, "two tasks have begun", 60)
    whole = login.status(array)[0]
    assert (whole["slurm"], whole["state"]) == (array, "running")
    wait_until(lambda: "2 queued, 2 running" in login.status(array)[0]["reason"], "counts", 20)
    login.until_it_speaks(f"{array}_1")
    answer = login("logs", array, code=2)
    assert f"say which: {array}_0, {array}_1" in answer.stderr
    assert login.status(f"{array}_3")[0]["state"] == "queued"
    done = login("cancel", f"{array}_1")
    assert done.stderr == f"plaunch: SLURM job {array}_1: cancelled\n"
    states = {job["slurm"]: job["state"] for job in login.status(array)}
    assert (states[f"{array}_0"], states[f"{array}_1"]) == ("running", "cancelled")
    done = login("cancel", array)
    assert done.returncode == 0
    states = {job["slurm"]: job["state"] for job in login.status(array)}
    assert states.pop(array) == "cancelled"
    assert set(states.values()) == {"cancelled"}


def test_a_run_in_somebodys_own_batch_script(login: Login, slurm: Slurm) -> None:
    """Cancelling the run from afar would end all of the job: it says so, and how."""
    script = f"cd {login.name}; plaunch --no-python sh program.sh {login.name}/go; sleep 600"
    job_id = slurm.submit(script)
    folders: list[Path] = []

    def began() -> bool:
        folders[:] = [p.parent for p in login.folder.glob("plaunch_runs/*/logs/rank0.log")]
        return bool(folders)

    wait_until(began, "it runs", 60)
    run_dir = f"{login.name}/plaunch_runs/{folders[0].parent.name}"
    wait_until(lambda: "rank 0 of 1" in login("logs", run_dir).stdout, "it speaks", 60)
    answer = login("cancel", run_dir, code=3)
    assert "on host1: there, type `plaunch cancel" in answer.stderr
    assert slurm.job(job_id)["JobState"] == "RUNNING"
    there = login.bed.call("host1", ["plaunch", "cancel", run_dir], timeout_s=90)
    assert (there.returncode, there.stderr.endswith(": cancelled\n")) == (0, True), there
    assert slurm.job(job_id)["JobState"] == "RUNNING"
    assert login.status(run_dir)[0]["state"] == "cancelled"
    assert "cancelled" in login("cancel", job_id).stderr
    assert slurm.job(job_id)["JobState"] == "CANCELLED"


def test_a_job_that_was_submitted_otherwise(login: Login, slurm: Slurm) -> None:
    """SLURM's id is enough, where nothing was noted: the job tells its folder."""
    script = login(
        "--cluster", "slurm", "--dry-run", "--no-python", "sh", "program.sh", "go"
    ).stdout
    job_id = slurm.submit(script, f"--chdir={login.name}")
    login.until_it_speaks(job_id)
    job = login.until(job_id, "running")
    assert job["run_dir"] == f"{login.name}/plaunch_runs/sh-{job_id}"
    login.let_go()
    login.until(job_id, "succeeded")
    options = ("--cluster", "slurm", "--array", "0-1", "--dry-run")
    script = login(*options, "--no-python", "sh", "program.sh", "go").stdout
    array = slurm.submit(script, f"--chdir={login.name}")
    wait_until(lambda: len(login.status(array)) == 3, "its tasks are found", 60)
    number = next(job["JobId"] for job in slurm.jobs(array) if job["ArrayTaskId"] == "0")
    assert login.status(number)[0]["run_dir"] == f"{login.name}/plaunch_runs/sh-{array}_0"
    login("status", "999999", code=2)


def test_forgotten_by_slurm(login: Login, slurm: Slurm) -> None:
    """After MinJobAge only the run folder tells how a job was."""
    slurm.configure({"MinJobAge": "2"})
    try:
        done, never = login.submit(go="now"), login.submit("--sbatch=--hold")
        login.let_go("now")
        login.until(done, "succeeded")
        login("cancel", never)

        def forgotten() -> bool:
            listed = login.bed.call("host0", ["squeue", "--noheader", "--states=all"]).stdout
            return listed == ""

        wait_until(forgotten, "SLURM has forgotten both", 60)
        first, second = login.status(done, never)
        assert (first["state"], first["slurm_job"]) == ("succeeded", None)
        assert (second["state"], second["over"]) == ("gone", True)
        assert "SLURM doesn't know it any more" in second["reason"]
        assert "went" in login("logs", done).stdout
        assert "nothing to cancel" in login("cancel", never).stderr
        assert login("logs", "--follow", never).stdout == ""  # and it ends
    finally:
        slurm.configure({"MinJobAge": "3600"})


def test_while_slurmctld_is_away(login: Login, slurm: Slurm) -> None:
    """It says so with exit code 3, and shows what the run folders tell."""
    running, waiting = login.submit(), login.submit("--sbatch=--hold")
    login.until_it_speaks(running)
    slurm.stop_controller()
    try:
        done = login("status", "--json", code=3)
        states = {job["slurm"]: (job["state"], job["reason"]) for job in json.loads(done.stdout)}
        assert states[running][0] in ("running", "unknown")
        assert states[waiting] == ("unknown", "SLURM can't be asked, and it has no run folder")
        assert "SLURM can't be reached" in done.stderr
        assert "rank 0 of 1" in login("logs", running).stdout
        assert "SLURM can't be reached" in login("cancel", running, code=3).stderr
    finally:
        slurm.start_controller()
    login.let_go()
    assert login.until(running, "succeeded")["exit_code"] == 0


# -- with accounting


@pytest.fixture(scope="module")
def with_accounting() -> Iterator[Slurm]:
    """One node with SLURM that forgets jobs soon, and a database that does not."""
    reason = Slurm.missing(accounting=True)
    if reason is not None:
        pytest.skip(f"no real hosts: {reason}")
    short = {"MinJobAge": "2"}
    with Testbed(1) as bed, Slurm(bed, accounting=True, config=short) as slurm:
        yield slurm


def test_the_accounting_remembers(with_accounting: Slurm) -> None:
    """Jobs that SLURM itself has forgotten: one cancelled in the queue, one killed at once."""
    login = Login(with_accounting)
    waiting, killed = login.submit("--sbatch=--hold"), login.submit()
    login.until_it_speaks(killed)
    login("cancel", waiting)
    controller = str(login.status(killed)[0]["pid"])
    login.bed.call("host1", ["kill", "-KILL", controller]).check_returncode()

    def forgotten() -> bool:
        listed = login.bed.call("host0", ["squeue", "--noheader", "--states=all"]).stdout
        return listed == ""

    wait_until(forgotten, "SLURM has forgotten both", 60)
    states = ["cancelled", "failed"]
    wait_until(lambda: [job["state"] for job in login.status()] == states, "sacct tells", 60)
    first, second = login.status()
    assert (first["slurm_job"]["id"], first["slurm_job"]["state"]) == (waiting, "CANCELLED")
    assert second["reason"] == "it ended with signal 9 (FAILED)"
