"""Reading what SLURM says: texts that a real one (22.05.8) has printed, and commands that fail."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.clusters.slurm import client as slurmctl
from launcher.clusters.slurm import jobs as slurm_jobs
from launcher.clusters.slurm.client import SlurmAway, SlurmError
from launcher.clusters.slurm.jobs import SlurmJob

SAID = Path(__file__).parent / "slurm_says"


def jobs() -> dict[str, SlurmJob]:
    return {job.id: job for job in slurm_jobs.parse_jobs((SAID / "jobs.txt").read_text())}


def test_all_jobs_are_found() -> None:
    """Each once; a comment with a newline that looks like a job makes no other."""
    assert list(jobs()) == ["1", "10", "3", "4", "5", "6", "7", "8", "9", "11", "2"]


def test_a_running_job_with_words_of_slurms_in_its_name() -> None:
    """Name, arguments and comment are the user's; state, files and nodes are SLURM's."""
    job = jobs()["1"]
    assert job.name == "a JobState=FAILED UserId=x"
    assert (job.state, job.reason, job.requeue, job.restarts) == ("RUNNING", "", True, 0)
    assert (job.nodes, job.num_nodes, job.batch_host) == ("host1", 1, "host1")
    assert (job.partition, job.time_limit, job.user) == ("low", "365-00:00:00", "root")
    assert (job.out, job.err, job.workdir) == ("/shared/o ut-1", "/shared/o ut-1", "/shared")
    assert job.preempt_time is None
    assert (job.waiting, job.over) == (False, False)


@pytest.mark.parametrize(
    ("number", "reason"),
    [("3", "PartitionNodeLimit"), ("4", "JobHeldUser"), ("5", "Dependency"), ("8", "BeginTime")],
)
def test_a_job_that_waits(number: str, reason: str) -> None:
    """It has a reason, and no nodes yet."""
    job = jobs()[number]
    assert (job.state, job.reason, job.waiting, job.over) == ("PENDING", reason, True, False)
    assert (job.nodes, job.batch_host, job.end_time) == ("", "", "")


@pytest.mark.parametrize(("number", "ended"), [("6", (7, 0)), ("7", (0, 9)), ("9", (0, 1))])
def test_a_job_that_failed(number: str, ended: tuple[int, int]) -> None:
    """Exit code and signal are told apart."""
    job = jobs()[number]
    assert (job.state, job.over, (job.exit_code, job.signal)) == ("FAILED", True, ended)


def test_tasks_of_an_array() -> None:
    """One that runs has a number of its own; those that wait share the array's."""
    known = jobs()
    assert [known[n].array for n in ("10", "11", "2")] == ["2_0", "2_1", "2_[2-7%2]"]
    assert known["11"].is_called("2_1")
    assert known["11"].is_called("11")
    assert not known["11"].is_called("2")
    assert known["2"].is_called("2_5")
    assert not known["2"].is_called("2_1")
    assert not known["2"].is_called("3_5")
    assert known["2"].is_called("2")


def test_the_queue() -> None:
    """One line a job or task, however long its lists are."""
    found = slurm_jobs.parse_queue((SAID / "queue.txt").read_text())
    assert len(found) == 16
    by_name = {job.array or job.id: job for job in found}
    assert by_name["2_5"] == SlurmJob(
        id="2",
        array="2_5",
        user="root",
        state="PENDING",
        reason="JobArrayTaskLimit",
        num_nodes=1,
        run_time="0:00",
        time_limit="UNLIMITED",
        partition="low",
    )
    assert (by_name["2_1"].id, by_name["2_1"].nodes) == ("11", "host1")
    assert (by_name["1"].array, by_name["1"].run_time) == (None, "0:06")
    assert slurm_jobs.parse_queue("\nslurm says something else\n") == []


def test_the_accounting() -> None:
    """What sacct says of jobs that were cancelled, wait or have ended."""
    rows = [
        "1_1|1_1|root|CANCELLED by 0|0:15|host1|1|00:00:04|365-00:00:00",
        "1|1_[3-7%2]|root|PENDING|0:0|None assigned|1|00:00:00|UNLIMITED",
        "3|3|root|OUT_OF_MEMORY|0:125|host[1-2]|2|00:00:04|UNLIMITED",
    ]
    text = "\n".join(rows).replace("|", "\x1f") + "\n"
    first, second, third = slurm_jobs.parse_accounting(text)
    assert (first.state, first.signal, first.array) == ("CANCELLED", 15, "1_1")
    assert (second.state, second.nodes) == ("PENDING", "")
    assert second.is_called("1_4")
    assert (third.state, third.exit_code, third.signal) == ("OUT_OF_MEMORY", 0, 125)
    assert (third.array, third.nodes, third.num_nodes) == (None, "host[1-2]", 2)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("99", {99}),
        ("1,4-6", {1, 4, 5, 6}),
        ("0-7:2%3", {0, 2, 4, 6}),
        ("(null)", set()),
        ("", set()),
        ("3-1", set()),
        ("1-5:0", {1, 2, 3, 4, 5}),
    ],
)
def test_lists_of_numbers(text: str, found: set[int]) -> None:
    """Exit codes, and the tasks of an array."""
    assert slurm_jobs.numbers(text) == found


@given(st.text(), st.text(), st.text(st.characters(exclude_characters="\n")))
def test_whatever_a_user_writes(name: str, comment: str, path: str) -> None:
    """No name, comment or path breaks the reading of state and reason."""
    line = (
        f"JobId=5 JobName={name} UserId=u(7) GroupId=g(7) MCS_label=N/A Priority=1 "
        f"JobState=PENDING Reason=Resources Requeue=0 Restarts=2 ExitCode=0:0 "
        f"Command=/x WorkDir=/w Comment={comment} StdErr={path} StdIn=/dev/null StdOut={path} \n"
    )
    (job,) = [job for job in slurm_jobs.parse_jobs(line) if job.id == "5"]
    if " UserId=" not in name:
        assert (job.name, job.state, job.reason, job.restarts) == (name, "PENDING", "Resources", 2)


def test_which_job_we_are_in() -> None:
    """A task of an array is named as such: its plain number may be that of the whole array."""
    assert slurmctl.own_id({}) is None
    assert slurmctl.own_id({"SLURM_JOB_ID": "7"}) == "7"
    task = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    assert slurmctl.own_id(task) == "7_3"


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script in the place of one of SLURM's commands; no others are there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(name: str, script: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/sh\nPATH=/bin:/usr/bin\n{script}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)

    return put


Put = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", SlurmAway),
        ("Unexpected message received for job 1", SlurmAway),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", SlurmAway),
        ("sacct: error: Problem talking to the database: Connection refused", SlurmAway),
        ("slurm_load_jobs error: Access/permission denied", SlurmError),
        ("", SlurmError),
    ],
)
def test_refusals(command: Put, said: str, kind: type[SlurmError]) -> None:
    """SLURM that is away is told from SLURM that refuses; its own words are passed on."""
    for name in ("scontrol", "squeue", "scancel", "sacct"):
        command(name, f"echo '{said}' >&2; exit 1")
    for call in (
        lambda: slurmctl.show("1"),
        slurmctl.show_all,
        lambda: slurmctl.cancel("1"),
        lambda: slurmctl.requeue("1_2"),
        lambda: slurmctl.finished("1"),
        slurmctl.requeue_exit_codes,
    ):
        with pytest.raises(SlurmError, match="exit code 1" if not said else None) as caught:
            call()
        assert type(caught.value) is kind
        assert said in str(caught.value)


def test_what_is_no_refusal(command: Put) -> None:
    """A job that SLURM has forgotten, and a SLURM without accounting, are answers."""
    command("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert slurmctl.show("1") is None
    assert slurmctl.finished("1") is None
    command("scontrol", 'echo "Job $4 not found"; exit 1')
    assert slurmctl.show("2_77") is None


def test_no_slurm_here(command: Put) -> None:
    """It says which command is missing; no accounting is no error."""
    with pytest.raises(SlurmError, match="no squeue on this machine"):
        slurmctl.show_all()
    assert slurmctl.finished("1") is None


def test_no_answer_in_time(command: Put) -> None:
    """A command that hangs is ended, and SLURM counts as away."""
    command("squeue", "exec sleep 60")
    with pytest.raises(SlurmAway, match=r"no answer within 0\.2 s"):
        slurmctl.show_all(timeout_s=0.2)


@pytest.mark.parametrize("word", ["", "-u root", "1 2", "1_", "all", "1_2_3", "--help", "1\n"])
def test_only_ids_reach_a_command(command: Put, tmp_path: Path, word: str) -> None:
    """Nothing else than one job's id is ever handed to scancel."""
    command("scancel", f"touch {tmp_path}/called")
    with pytest.raises(SlurmError, match="no SLURM job id"):
        slurmctl.cancel(word)
    assert not (tmp_path / "called").exists()


def test_a_users_own_formats_change_nothing(
    command: Put, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Filters and formats that a user has set for the commands are not handed on."""
    monkeypatch.setenv("SQUEUE_FORMAT", "x")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("SLURM_CONF", "/etc/other.conf")
    command("squeue", f"env > {tmp_path}/env")
    assert slurmctl.show_all() == []
    env = (tmp_path / "env").read_text()
    assert "SQUEUE_FORMAT" not in env
    assert "SLURM_TIME_FORMAT" not in env
    assert "SLURM_CONF=/etc/other.conf" in env
    assert os.environ["SQUEUE_FORMAT"] == "x"
