"""Slurm on the testbed does what the tests of plaunch under Slurm build on."""

import signal
import subprocess

import pytest

from tests.testbed import Slurm, Testbed, wait_until

pytestmark = pytest.mark.hosts

# Ends with 99 (RequeueExit of slurm.conf) when it is warned.
WARNED = """#!/bin/sh
trap 'echo warned; exit 99' USR2
echo started $SLURM_RESTART_COUNT
while :; do sleep 0.1; done
"""


def _client(slurm: Slurm, *argv: str, user: str = "root") -> "subprocess.CompletedProcess[str]":
    return slurm.testbed.call("host0", argv, user=user, cwd="/shared")


def _programs(slurm: Slurm, host: str) -> list[str]:
    return [process.program for process in slurm.testbed.processes(host)]


@pytest.mark.parametrize("user", ["root", "alice"])
def test_users_run_submit_and_cancel_from_the_login_host(slurm: Slurm, user: str) -> None:
    """srun, sbatch and scancel work for every user; a batch job starts on its first node."""
    done = _client(slurm, "srun", "--nodes=4", "sh", "-c", "id -un; hostname", user=user)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(["host1", "host2", "host3", "host4", *[user] * 4])

    output = slurm.testbed.shared / f"{user}.out"
    script = "hostname; srun hostname"
    job_id = slurm.submit(script, "--nodes=2", f"--output={user}.out", user=user)
    assert slurm.wait_for(job_id, {"COMPLETED", "FAILED"})["ExitCode"] == "0:0"
    assert output.read_text().startswith("host1\n")
    assert sorted(output.read_text().split()[1:]) == ["host1", "host2"]

    job_id = slurm.submit("sleep 1000", user=user)
    slurm.wait_for(job_id, "RUNNING")
    assert _client(slurm, "scancel", job_id, user=user).returncode == 0
    assert slurm.wait_for(job_id, "CANCELLED")["Restarts"] == "0"


def test_slurms_own_processes_are_none_of_a_test_but_those_of_jobs_are(slurm: Slurm) -> None:
    """Without a job every host counts as empty; a job's processes and its slurmstepd count."""
    assert [_programs(slurm, host) for host in ["host0", *slurm.nodes]] == [[], [], [], [], []]
    assert {p.program for p in slurm.testbed.daemons(1)} >= {"munged", "slurmctld", "slurmd"}

    slurm.wait_for(slurm.submit("exec sleep 1000", "--nodelist=host2"), "RUNNING")
    wait_until(lambda: {"slurmstepd", "sleep"} <= set(_programs(slurm, "host2")), "the job runs")

    slurm.reset()
    assert _programs(slurm, "host2") == []


def test_jobs_get_gpus_of_their_own(slurm: Slurm) -> None:
    """Each node has eight GPUs; jobs on the same node get different ones."""
    script = "echo $CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS; ls /dev/nvidia?; sleep 1000"
    for number, gpus in ((1, 2), (2, 3)):
        options = ("--nodelist=host1", f"--gpus-per-node={gpus}", f"--output=gpus{number}.out")
        slurm.wait_for(slurm.submit(script, *options), "RUNNING")
    first, second = (slurm.testbed.shared / f"gpus{number}.out" for number in (1, 2))
    wait_until(
        lambda: all(out.exists() and "nvidia7" in out.read_text() for out in (first, second)),
        "both have told",
    )
    assert first.read_text().splitlines()[0] == "0,1 0,1"
    assert second.read_text().splitlines()[0] == "2,3,4 2,3,4"

    with pytest.raises(RuntimeError, match="node configuration is not available"):
        slurm.submit(script, "--gpus-per-node=9")


def test_tasks_of_an_array_are_jobs_of_their_own(slurm: Slurm) -> None:
    """Each task has a number and an output; `jobs` tells of every one."""
    job_id = slurm.submit("echo task $SLURM_ARRAY_TASK_ID", "--array=0-2", "--output=array-%a.out")
    wait_until(
        lambda: [job["JobState"] for job in slurm.jobs(job_id)] == ["COMPLETED"] * 3,
        "all tasks ran",
    )
    assert {job["ArrayTaskId"] for job in slurm.jobs(job_id)} == {"0", "1", "2"}
    outputs = [slurm.testbed.shared / f"array-{number}.out" for number in range(3)]
    assert [out.read_text() for out in outputs] == ["task 0\n", "task 1\n", "task 2\n"]
    assert slurm.job(f"{job_id}_1")["ArrayTaskId"] == "1"


def test_a_preempted_job_is_warned_and_comes_again(slurm: Slurm) -> None:
    """With a grace time the batch script gets its signal first; the job starts once more."""
    options = ("--nodes=4", "--exclusive", "--requeue", "--signal=B:USR2@60")
    output = ("--open-mode=append", "--output=preempted.out")
    job_id = slurm.submit(WARNED, *options, *output)
    slurm.wait_for(job_id, "RUNNING")
    text = slurm.testbed.shared / "preempted.out"
    wait_until(lambda: text.exists() and text.read_text() == "started\n", "the job has started")

    urgent = slurm.submit("true", "--nodes=4", "--exclusive", "--partition=high")

    slurm.wait_for(urgent, "COMPLETED")
    again = slurm.wait_until(job_id, lambda job: job["Restarts"] == "1", "it is queued again")
    assert slurm.wait_until_back(job_id)["JobState"] == "RUNNING"
    assert again["Requeue"] == "1"
    wait_until(lambda: text.read_text() == "started\nwarned\nstarted 1\n", "it has started again")


def test_without_a_grace_time_a_preempted_job_is_ended_at_once(slurm: Slurm) -> None:
    """Lines of slurm.conf can be changed while Slurm runs; `reset` takes them back."""
    slurm.configure({"KillWait": "1", "JobRequeue": "0"}, grace_s=0)
    job_id = slurm.submit("exec sleep 1000", "--nodes=4", "--exclusive")
    slurm.wait_for(job_id, "RUNNING")

    urgent = slurm.submit("true", "--nodes=4", "--exclusive", "--partition=high")

    slurm.wait_for(urgent, "COMPLETED")
    ended = slurm.wait_for(job_id, "PREEMPTED")
    assert (ended["Requeue"], ended["Restarts"]) == ("0", "0")

    slurm.reset()
    assert slurm.job(slurm.submit("true"))["Requeue"] == "1"


def test_the_time_limit_ends_a_job(slurm: Slurm) -> None:
    """A job that runs longer than it may is ended, and says why."""
    job_id = slurm.submit("exec sleep 1000", "--time=10")
    slurm.wait_for(job_id, "RUNNING")

    slurm.expire(job_id)

    ended = slurm.wait_for(job_id, "TIMEOUT")
    assert (ended["Reason"], ended["Restarts"]) == ("TimeLimit", "0")


def test_a_job_comes_again_when_a_node_crashes(slurm: Slurm) -> None:
    """Slurm notices a dead node by itself; after a boot the node can be used."""
    job_id = slurm.submit("exec sleep 1000", "--nodes=2", "--nodelist=host[2-3]", "--requeue")
    slurm.wait_for(job_id, "RUNNING")

    slurm.testbed.crash("host3")

    slurm.wait_until(job_id, lambda job: job["Restarts"] == "1", "it is queued again")
    assert "down" in _client(slurm, "sinfo", "-h", "-n", "host3", "-o", "%T").stdout

    slurm.boot("host3")

    assert _client(slurm, "srun", "--nodelist=host3", "hostname").stdout == "host3\n"


def test_a_crash_that_slurm_is_told_of_is_acted_on_at_once(slurm: Slurm) -> None:
    """Without requeue the job has failed by its node, and the rest of it is ended."""
    job_id = slurm.submit("exec sleep 1000", "--nodes=2", "--nodelist=host[2-3]", "--no-requeue")
    slurm.wait_for(job_id, "RUNNING")

    slurm.crash("host3")

    assert slurm.wait_for(job_id, "NODE_FAIL")["Reason"] == "NodeDown"
    assert _programs(slurm, "host2") == []


def test_jobs_run_on_while_the_controller_is_away(slurm: Slurm) -> None:
    """Clients say that the controller can't be reached; it comes back and knows its jobs."""
    job_id = slurm.submit("exec sleep 1000", "--nodelist=host2")
    slurm.wait_for(job_id, "RUNNING")

    slurm.stop_controller()

    asked = _client(slurm, "squeue")
    assert asked.returncode == 1
    assert "Unable to contact slurm controller" in asked.stderr
    assert "sleep" in _programs(slurm, "host2")

    slurm.start_controller()

    assert slurm.job(job_id)["JobState"] == "RUNNING"


def test_a_killed_controller_knows_what_it_had_saved(slurm: Slurm) -> None:
    """After kill -9 of slurmctld and a new start, a job that it had saved still runs."""
    job_id = slurm.submit("exec sleep 1000", "--nodelist=host2")
    slurm.wait_for(job_id, "RUNNING")
    _client(slurm, "scontrol", "update", f"jobid={job_id}", "comment=saved while running")
    state = slurm.folder / "state/job_state"
    wait_until(lambda: b"saved while running" in state.read_bytes(), "the job is saved")

    slurm.stop_controller(kill=True)
    slurm.start_controller()

    assert slurm.job(job_id)["JobState"] == "RUNNING"
    assert "sleep" in _programs(slurm, "host2")


def test_jobs_outlive_their_nodes_slurmd(slurm: Slurm) -> None:
    """kill -9 of a slurmd ends no job; started again, it knows the job and can end it."""
    job_id = slurm.submit("exec sleep 1000", "--nodelist=host2")
    slurm.wait_for(job_id, "RUNNING")
    wait_until(lambda: "sleep" in _programs(slurm, "host2"), "the job runs")

    slurm.kill_slurmd("host2")
    assert "slurmd" not in [p.program for p in slurm.testbed.daemons("host2")]
    assert "sleep" in _programs(slurm, "host2")

    slurm.start_slurmd("host2")
    assert slurm.job(job_id)["JobState"] == "RUNNING"
    assert _client(slurm, "scancel", job_id).returncode == 0
    slurm.wait_for(job_id, "CANCELLED")
    assert _programs(slurm, "host2") == []


def test_the_controllers_host_may_crash(slurm: Slurm) -> None:
    """What the controller has saved outlives host1; jobs elsewhere run on."""
    job_id = slurm.submit("exec sleep 1000", "--nodelist=host2", "--job-name=kept")
    slurm.wait_for(job_id, "RUNNING")
    slurm.stop_controller()  # saves its state

    slurm.testbed.crash("host1")
    slurm.boot("host1")

    assert slurm.job(job_id)["JobState"] == "RUNNING"
    assert _client(slurm, "srun", "--nodelist=host1", "hostname").stdout == "host1\n"


def test_reset_ends_what_does_not_want_to_end(slurm: Slurm) -> None:
    """A job that ignores SIGTERM and jobs that wait are gone after `reset`, whatever was broken."""
    slurm.configure({"KillWait": "1"})
    stubborn = slurm.submit("trap '' TERM; while :; do sleep 0.1; done", "--nodes=4", "--exclusive")
    slurm.wait_for(stubborn, "RUNNING")
    slurm.submit("true", "--nodes=4", "--exclusive")
    slurm.testbed.crash("host4")
    slurm.stop_controller(kill=True)

    slurm.reset()

    assert _client(slurm, "squeue", "-h").stdout == ""
    assert _client(slurm, "srun", "--nodes=4", "true").returncode == 0
    wait_until(lambda: all(_programs(slurm, host) == [] for host in slurm.nodes), "nothing is left")


def test_accounting_answers_sacct_beside_another_slurm(slurm: Slurm) -> None:
    """With accounting, sacct knows a job's state and GPUs; the other Slurm has no such job."""
    if reason := Slurm.missing(accounting=True):
        pytest.skip(reason)
    with Testbed(1) as testbed, Slurm(testbed, accounting=True) as other:
        job_id = other.submit("true", "--gpus-per-node=2", "--job-name=accounted")
        other.wait_for(job_id, "COMPLETED")
        argv = ["sacct", "-n", "-X", "-P", "-o", "JobName,State,AllocTRES"]
        wait_until(
            lambda: "accounted|COMPLETED|" in _client(other, *argv).stdout, "sacct knows the job"
        )
        assert "gres/gpu=2" in _client(other, *argv).stdout
    assert "accounted" not in _client(slurm, "squeue", "-h", "-t", "all", "-o", "%j").stdout
    assert "accounting storage is disabled" in _client(slurm, "sacct").stderr


def test_signals_reach_the_batch_script_when_it_is_cancelled(slurm: Slurm) -> None:
    """SIGTERM comes first; what doesn't end then is killed KillWait seconds later."""
    slurm.configure({"KillWait": "1"})
    script = "trap 'echo got TERM' TERM; echo ready; while :; do sleep 0.1; done"
    job_id = slurm.submit(script, "--output=signals.out")
    output = slurm.testbed.shared / "signals.out"
    wait_until(lambda: output.exists() and "ready" in output.read_text(), "the job is ready")

    _client(slurm, "scancel", job_id)

    ended = slurm.wait_for(job_id, "CANCELLED")
    assert "got TERM" in output.read_text()
    assert ended["ExitCode"] == f"0:{signal.SIGKILL:d}"
