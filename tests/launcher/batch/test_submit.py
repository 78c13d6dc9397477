"""A run into SLURM's queue: what is asked of it, refused before it, and left out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.batch import script as batch_script
from launcher.batch.options import BatchOptions
from launcher.batch.submit import (
    Submitted,
    check,
    environment,
    forget_folder,
    make_folder,
    make_request,
    output_options,
)
from launcher.cli.command import main
from launcher.core.errors import ClusterError, ConfigError, RunDirError, UsageError
from launcher.core.job import Program, RunOptions
from launcher.core.options import OPTIONS
from launcher.request import request
from launcher.request.cluster_file import ClusterFile, SlurmOptions
from launcher.request.discovery import Discovered, Machine, decide
from launcher.request.dispatch import is_submitted
from launcher.request.program import read_function
from launcher.request.values import is_requeued

FACTS = Machine(python="/env/bin/python", workdir="/project")
SCRIPT = Program("script", "train.py")
Patch = pytest.MonkeyPatch


def found(file: ClusterFile | None = None, environ: dict[str, str] | None = None) -> Discovered:
    return decide("slurm", file, None, None, environ or {}, FACTS)


def test_outside_an_allocation_a_run_is_submitted() -> None:
    """By --cluster slurm and no SLURM job around us; everything else runs from here."""
    inside = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "h1", "SLURM_NNODES": "1"}

    assert is_submitted(RunOptions(), found())
    assert not is_submitted(RunOptions(), found(environ=inside))
    assert not is_submitted(RunOptions(), decide(None, None, None, None, {}, FACTS))


@pytest.mark.parametrize("where", ["local", "inside"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("time", "90"), ("partition", "p"), ("account", "a"), ("qos", "q"), ("requeue", True),
        ("signal_lead_s", 9), ("array", "0-7"), ("sbatch", ("--exclusive",)), ("detach", True),
        ("new_job", True),
    ],
)  # fmt: skip
def test_options_of_a_submitted_run_elsewhere(where: str, option: str, value: Any) -> None:
    """They would be without effect: refused, with the reason."""
    inside = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "h1", "SLURM_NNODES": "1"}
    there = (
        found(environ=inside) if where == "inside" else decide("local", None, None, None, {}, FACTS)
    )
    said = "inside an allocation already" if where == "inside" else "add --cluster slurm"

    with pytest.raises(UsageError, match=f"{OPTIONS[option].word}: .*{said}"):
        is_submitted(RunOptions(**{option: value}), there)


def test_what_the_cluster_file_says() -> None:
    """Interpreter, folder and options of the file; variables by name only, from both sides."""
    file = ClusterFile(
        "slurm", python="python3", workdir="/shared", env={"MODE": "a", "TOKEN": None},
        slurm=SlurmOptions(partition="gpu"),
    )  # fmt: skip
    options = RunOptions(env={"MORE": "b"}, qos="high")

    made = make_request(options, SCRIPT, found(file, {"TOKEN": "hunter2"}))

    assert (made.python, made.workdir) == ("python3", "/shared")
    assert made.options == BatchOptions(partition="gpu", qos="high")
    assert made.env_names == ("MODE", "MORE", "TOKEN")
    assert "hunter2" not in batch_script.render(made)


def test_paths_mean_the_same_from_another_folder(monkeypatch: Patch, tmp_path: Path) -> None:
    """--run-dir and --result start at the current folder, wherever the job runs."""
    monkeypatch.chdir(tmp_path)
    options = RunOptions(run_dir="runs/a", result_file="r.json")

    here = make_request(options, SCRIPT, found()).run
    there = make_request(options, SCRIPT, found(ClusterFile("slurm", workdir="/shared"))).run

    assert (here.run_dir, here.result_file) == ("runs/a", "r.json")
    assert (there.run_dir, there.result_file) == (f"{tmp_path}/runs/a", f"{tmp_path}/r.json")


def test_a_request_that_is_wrong_for_any_run() -> None:
    """It is found out before the queue."""
    with pytest.raises(UsageError, match="--max-restarts"):
        make_request(RunOptions(max_restarts=-1), SCRIPT, found())
    with pytest.raises(UsageError, match="--gpus"):
        make_request(RunOptions(gpus="x"), SCRIPT, found())


def test_an_arrays_result_needs_somebody_who_waits() -> None:
    """It is written at the end of all tasks, by us."""
    with pytest.raises(UsageError, match="--detach"):
        make_request(RunOptions(array="0-3", detach=True, result_file="r"), SCRIPT, found())


def checked(folder: Path, program: Program = SCRIPT, **more: Any) -> None:
    made = batch_script.Request(RunOptions(**more), program, "python3")
    check(made, str(folder))


def test_checks_before_the_queue(monkeypatch: Patch, tmp_path: Path) -> None:
    """Folder, script, program, interpreter, run folder, and sbatch itself."""
    monkeypatch.chdir(tmp_path)
    sbatch = tmp_path / "bin" / "sbatch"
    monkeypatch.setenv("PATH", str(sbatch.parent))
    with pytest.raises(UsageError, match="no folder"):
        checked(tmp_path / "gone")
    with pytest.raises(UsageError, match="script not found: train"):
        checked(tmp_path)
    (tmp_path / "train.py").mkdir()
    with pytest.raises(UsageError, match="can't be read"):
        checked(tmp_path)
    (tmp_path / "train.py").rmdir()
    (tmp_path / "train.py").touch()
    with pytest.raises(UsageError, match="can't be run"):
        checked(tmp_path, Program("program", "./train.py"))
    with pytest.raises(UsageError, match="no interpreter /nowhere"):
        check(batch_script.Request(RunOptions(), SCRIPT, "/nowhere"), str(tmp_path))
    with pytest.raises(ClusterError, match="no sbatch"):
        checked(tmp_path)
    sbatch.parent.mkdir()
    sbatch.touch(0o755)
    checked(tmp_path)
    checked(tmp_path, Program("module", "anything"))
    (tmp_path / "job.json").write_text('{"program": "script other.py"}')
    with pytest.raises(RunDirError, match="another program"):
        checked(tmp_path, run_dir=".")
    checked(tmp_path, run_dir=".", restart=True)


def test_nothing_in_the_environment_overrules_the_script() -> None:
    """sbatch takes SBATCH_ variables over the script's lines; those of other options stay."""
    options = BatchOptions(time="5", partition="gpu", array="0-3", extra=(("--gres", "gpu:1"),))
    made = batch_script.Request(RunOptions(), SCRIPT, "python3", options)
    ours = {
        "SBATCH_TIMELIMIT": "1", "SBATCH_PARTITION": "x", "SBATCH_ARRAY_INX": "1",
        "SBATCH_JOB_NAME": "x", "SBATCH_OUTPUT": "x", "SBATCH_EXPORT": "NONE", "SBATCH_GRES": "x",
        "SBATCH_OPEN_MODE": "t", "SBATCH_RESERVATION": "mine", "PATH": "/bin", "A": "0",
    }  # fmt: skip

    assert environment(made, {"A": "1"}, ours) == {
        "SBATCH_RESERVATION": "mine", "PATH": "/bin", "A": "1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "tasks", "out"),
    [
        (None, (), "/shared/plaunch_runs/train.py-%j/slurm-%j"),
        (None, (0, 1), "/shared/plaunch_runs/train.py-%A/slurm-%A_%a"),
        ("100% mine", (), "/shared/100%% mine/slurm-%j"),
        ("/runs/a", (0, 1), "/runs/a/slurm-%A_%a"),
    ],
)
def test_slurms_own_files_are_in_the_runs_folder(
    own: str | None, tasks: tuple[int, ...], out: str
) -> None:
    """By SLURM's patterns where the number is not known yet; a % of the user's own is one."""
    made = batch_script.Request(RunOptions(run_dir=own), SCRIPT, "python3")
    run_dir = batch_script.run_dir(made, "%A" if tasks else "%j")

    assert output_options("/shared", run_dir, own, tasks) == [
        f"--output={out}.out", f"--error={out}.err",
    ]  # fmt: skip


IN_A_JOB = {
    "SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "1", "SLURM_MEM_PER_NODE": "50", "SRUN_DEBUG": "3",
    "SLURM_ARRAY_TASK_ID": "4", "SLURM_STEP_ID": "0", "SLURMD_NODENAME": "h1", "PMI_RANK": "0",
    "ENVIRONMENT": "BATCH", "CUDA_VISIBLE_DEVICES": "3", "SBATCH_CPU_BIND": "none",
    "TMPDIR": "/scratch/job-77",
}  # fmt: skip
OF_THE_USER = {
    "SBATCH_ACCOUNT": "team", "SBATCH_RESERVATION": "mine", "SLURM_CONF": "/etc/slurm.conf",
    "OMP_NUM_THREADS": "4", "PATH": "/bin",
}  # fmt: skip
IN_A_RANK = {
    "PLAUNCH_SOCKET": "/tmp/x", "PLAUNCH_RUN_DIR": "/runs/a", "RANK": "1", "WORLD_SIZE": "2",
    "MASTER_ADDR": "h1", "GLOO_SOCKET_IFNAME": "eth0", "PLAUNCH_MARK_a_0_1": "1",
}  # fmt: skip


def test_a_new_job_has_nothing_of_the_job_that_it_is_submitted_from() -> None:
    """Neither the job's variables nor the rank's; the user's own settings for sbatch stay."""
    made = batch_script.Request(RunOptions(), SCRIPT, "python3")

    assert environment(made, {}, {**OF_THE_USER, **IN_A_JOB}) == OF_THE_USER
    assert environment(made, {}, {**OF_THE_USER, **IN_A_RANK}) == OF_THE_USER
    assert environment(made, {"RANK": "9"}, {**IN_A_JOB, **IN_A_RANK}) == {"RANK": "9"}


def test_outside_of_a_job_the_environment_stays() -> None:
    """What the user has set for srun on a login node is not ours to forget."""
    made = batch_script.Request(RunOptions(), SCRIPT, "python3")
    ours = {"SLURM_CPUS_PER_TASK": "2", "CUDA_VISIBLE_DEVICES": "0", "TMPDIR": "/tmp", "RANK": "x"}

    assert environment(made, {}, ours) == ours


def test_a_new_job_from_inside_an_allocation() -> None:
    """--new-job submits; of several tasks of a step only the first one may, and any rank."""
    inside = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "h1", "SLURM_STEP_NUM_TASKS": "2"}

    def new(environ: dict[str, str]) -> Discovered:
        return decide(None, None, None, None, environ, FACTS, new_job=True)

    options = RunOptions(new_job=True, time="90")
    assert is_submitted(options, new({**inside, "SLURM_PROCID": "0"}))
    assert is_submitted(options, new({**inside, "SLURM_PROCID": "1", "PLAUNCH_SOCKET": "/x"}))
    with pytest.raises(ConfigError, match="task 1 of an srun step"):
        new({**inside, "SLURM_PROCID": "1"})
    with pytest.raises(UsageError, match="--new-job"):
        is_submitted(options, decide("local", None, None, None, {}, FACTS, new_job=True))


@pytest.mark.parametrize("name", ["a\nb", "100%", "a\\b", "\x1b"])
def test_folders_that_slurm_can_not_work_in(tmp_path: Path, name: str) -> None:
    """It would take them for something else, or write its files elsewhere."""
    (tmp_path / name).mkdir()

    with pytest.raises(UsageError, match="SLURM can't work in the folder"):
        checked(tmp_path / name)


def test_a_folder_for_the_run_is_made_before_the_queue(tmp_path: Path) -> None:
    """Where it can't be made, nothing is queued."""
    make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--run-dir"):
        make_folder(tmp_path / "file/b")
    forget_folder(tmp_path / "a/b")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_the_traces_will_be() -> None:
    """Known from the job's number alone."""
    made = batch_script.Request(RunOptions(result_file="r.json"), SCRIPT, "python3")
    job = Submitted("12", made, "/shared")

    assert str(job.traces().run_dir) == "/shared/plaunch_runs/train.py-12"
    assert str(job.traces().out) == "/shared/plaunch_runs/train.py-12/slurm-12.out"
    assert str(job.traces(3).run_dir) == "/shared/plaunch_runs/train.py-12_3"
    assert str(job.traces(3).err) == "/shared/plaunch_runs/train.py-12/slurm-12_3.err"
    assert job.result_file == "/shared/r.json"


def test_a_dry_run_needs_no_slurm(
    monkeypatch: Patch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script, byte for byte, and nothing else; nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    code = main(["--cluster", "slurm", "--nodes", "2", "--dry-run", "train.py", "a b"])

    out, err = capsys.readouterr()
    made = make_request(
        RunOptions(cluster="slurm", nodes=(2, 2)),
        Program("script", "train.py", ("a b",)),
        request.find(RunOptions(cluster="slurm")),
    )
    assert (code, out, err) == (0, batch_script.render(made), "")
    assert list(tmp_path.iterdir()) == []


def test_a_requeued_job_never_begins_anew(monkeypatch: Patch) -> None:
    """--restart stands in its script, and counts for its first start only."""
    assert not is_requeued({})
    assert not is_requeued({"SLURM_RESTART_COUNT": "0"})
    assert is_requeued({"SLURM_RESTART_COUNT": "2"})


def test_a_function_is_read_from_a_file_of_our_own_only(tmp_path: Path) -> None:
    """Ranks run what it holds: nobody else may have written or linked it."""
    file = tmp_path / "function.pickle"
    file.write_bytes(b"pickled")
    for mode in (0o644, 0o620, 0o606):
        file.chmod(mode)
        with pytest.raises(UsageError, match="mode 0600"):
            read_function(str(file), "fit")
    file.chmod(0o600)
    assert read_function(str(file), "fit") == Program("function", "fit", (), b"pickled")
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(UsageError, match="link"):
        read_function(str(link), "fit")
    if os.geteuid() == 0:
        os.chown(file, 12345, 12345)
        with pytest.raises(UsageError, match="mode 0600"):
            read_function(str(file), "fit")
