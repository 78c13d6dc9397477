"""The command line: its words, torchrun's spellings, mistakes, and what it does not import."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from launcher.cli.command import is_no_program, main
from launcher.cli.options import run_parser
from launcher.clusters.slurm import client as slurmctl
from launcher.core.errors import UsageError
from launcher.core.job import Program, RunOptions
from launcher.request.request import make_id, make_job
from launcher.request.values import num_procs, parse_env
from tests.launcher.support.runs import PLAUNCH


def parse(*words: str) -> dict[str, Any]:
    return vars(run_parser().parse_args(list(words)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--nodes 2 t.py", {"nodes": (2, 2), "program": "t.py", "args": []}),
        ("--nodes 2:4 t.py", {"nodes": (2, 4)}),
        ("--nnodes=2 --nproc-per-node=4 t.py", {"nodes": (2, 2), "procs": "4"}),
        ("--nnodes 1:3 --nproc_per_node gpu t.py", {"nodes": (1, 3), "procs": "gpu"}),
        ("--standalone --max_restarts=3 t.py", {"max_restarts": 3, "standalone": True}),
        ("-m pack.mod --x", {"module": True, "program": "pack.mod", "args": ["--x"]}),
        ("--no_python ls -l", {"no_python": True, "program": "ls", "args": ["-l"]}),
        ("--no-python ls -l", {"no_python": True}),
        ("t.py --nodes 9 -m", {"nodes": None, "args": ["--nodes", "9", "-m"]}),
        ("-- t.py -- a", {"program": "t.py", "args": ["--", "a"]}),
        ("--env A=1 --env B t.py", {"env": ["A=1", "B"]}),
        ("--grace 2.5 --timeout 60 t.py", {"grace_s": 2.5, "timeout_s": 60.0}),
        ("--failure-grace 0 t.py", {"failure_grace_s": 0.0, "grace_s": None}),
        ("--gpus 3, t.py", {"gpus": "3,"}),
        ("t.py", {"max_restarts": None, "grace_s": None, "start": None, "restart": False}),
    ],
)
def test_words(words: str, expected: dict[str, Any]) -> None:
    """Our options and torchrun's spellings of them; what follows the program is the program's."""
    found = parse(*words.split())
    assert {key: found[key] for key in expected} == expected


def test_torchruns_words_mean_the_same() -> None:
    """The installed torchrun splits these command lines in the same place."""
    run = pytest.importorskip("torch.distributed.run")
    for words in (
        "--nnodes 2 --nproc-per-node 4 t.py --lr 0.1 -m",
        "--standalone --nproc_per_node=2 -m pack.mod a --nnodes 3",
        "--max-restarts 3 --no-python prog -x",
        "t.py a -- b",
        "-- t.py -- a",
    ):
        ours, theirs = parse(*words.split()), run.get_args_parser().parse_args(words.split())
        assert (ours["program"], ours["args"]) == (
            theirs.training_script,
            theirs.training_script_args,
        )
        assert (ours["max_restarts"] or 0) == theirs.max_restarts
        assert (ours["module"], ours["no_python"]) == (theirs.module, theirs.no_python)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nodse 2 t.py", "--nodse"),
        ("--nodes x t.py", "neither N nor MIN:MAX"),
        ("--nodes 3:2 t.py", "MIN up to MAX"),
        ("--nodes 0 t.py", "at least one node"),
        ("--procs 0 t.py", "--procs 0"),
        ("--procs many t.py", "--procs many"),
        ("--start hot t.py", "--start"),
        ("--timeout -1 t.py", "--timeout"),
        ("--grace nan t.py", "--grace"),
        ("--max-restarts -1 t.py", "--max-restarts"),
        ("--max-restarts x t.py", "--max-restarts"),
        ("--gpus 1.5 t.py", "--gpus"),
        ("--quiet --verbose t.py", "--quiet"),
        ("--cluster nowhere t.py", "nowhere"),
        ("--cluster local --time 90 t.py", "--time"),
        ("--requeue --detach t.py", "--requeue, --detach"),
        ("--cluster slurm --time 2h t.py", "--time 2h"),
        ("--cluster slurm --array x t.py", "--array x"),
        ("--cluster slurm --signal-lead 0 t.py", "--signal-lead"),
        ("--cluster slurm --sbatch nice=7 t.py", "'nice=7'"),
        ("--cluster slurm --hosts h1 t.py", "--hosts"),
        ("--cluster slurm --gpus all t.py", "--gpus all"),
        ("--cluster slurm gone.py", "gone.py"),
        ("--env 1=2 t.py", "'1'"),
        ("--procs", "--procs"),
        ("", "what shall run?"),
        ("no-such-script.py", "no-such-script.py"),
        ("nodes --foo", "--foo"),
        ("doctor --nodes x", "--nodes"),
        ("status --foo", "--foo"),
        ("cancel", "JOB"),
        ("logs", "JOB"),
        ("logs --rank x y", "'x' is not a number"),
        ("prune", "--older"),
        ("prune --older 30", "write it as 30d"),
        ("prune --older ", "--older"),
        ("prune 12 --older 30d", "12"),
        ("--quiet status", "'status' comes before options"),
        ("preempt x", "not in this version"),
        # absurd numbers: said at once, and nothing is made of them
        ("--nodes 10000000 t.py", "10000000 nodes"),
        ("--nodes 1:10000000 t.py", "10000000 nodes"),
        ("--nodes 1000 t.py", "this machine can act as 256 at most"),
        ("--nodes 100 --procs 100 t.py", "10000 ranks on one machine"),
        ("--procs 99999999 t.py", "from 1 to 4096"),
        ("--procs ² t.py", "from 1 to 4096"),
        ("--hosts h[1-99999999] t.py", "more than 100,000 names"),
        ("--hosts h[1-50000] t.py", "50000 nodes"),
        ("--gpus 0-9999999 t.py", "GPUs are listed one by one, with commas"),
        ("--gpus ² t.py", "no number of GPUs"),
        ("--gpus h[1-99999999]:1 t.py", "100,000 names"),
        ("--max-restarts " + "9" * 5000 + " t.py", "from 0 to 999999999"),
        ("--signal-lead " + "9" * 5000 + " t.py", "from 1 to 999999999"),
        ("--timeout 1e300 t.py", "seconds from 0 to 1e10"),
        ("--cluster slurm --array 0-99999999 t.py", "a task's number is 4000000 at most"),
        ("--cluster slurm --array 0-1000000 t.py", "1000001 tasks"),
        ("--cluster slurm --array 7-0 t.py", "7-0 has no tasks"),
        ("--cluster slurm --array 0-7:0 t.py", "0-7:0 has no tasks"),
        ("--cluster slurm --array " + "9" * 5000 + " t.py", "at most"),
        ("logs --rank " + "9" * 5000 + " x", "is not a number"),
        # words that are nearly ours, or others'
        ("stauts", "did you mean `plaunch status`?"),
        ("noeds --hosts h1", "did you mean `plaunch nodes`?"),
        ("kill 12", "it is `plaunch cancel`"),
        ("run t.py", "it is `plaunch [options] script.py`"),
        ("help", "it is `plaunch --help`"),
        # other launchers' options
        ("--node-rank 1 t.py", "starts every node itself"),
        ("--node_rank=1 t.py", "starts every node itself"),
        ("--rdzv-backend c10d t.py", "leave it out"),
        ("--rdzv_endpoint=h1:29500 t.py", "leave it out"),
        ("--master-addr h1 --master_port 29500 t.py", "no option --master-addr: the ranks find"),
        ("--mem 3G t.py", "--sbatch=--mem=..."),
        ("--gres=gpu:2 t.py", "--sbatch=--gres=..."),
        ("--job-name x t.py", "--sbatch=--job-name=..."),
        ("-J x t.py", "--sbatch=-J=..."),
        ("-N 4 t.py", "use --nodes N"),
        ("-N4 t.py", "use --nodes N"),
        ("-n 4 t.py", "use --procs N"),
        ("-np 4 t.py", "use --procs N"),
        ("--ntasks=4 t.py", "use --procs N"),
        ("--num_processes 4 t.py", "use --procs N"),
        ("--num-machines 4 t.py", "use --nodes N"),
        ("-machinefile x t.py", "--hosts h1"),
        ("-host h1 t.py", "--hosts h1"),
        ("--run_dir x t.py", "it is written --run-dir"),
        ("--log-dir x t.py", "--run-dir"),
        ("--mixed_precision=bf16 t.py", "behind the script"),
        ("nodes --node-rank 3", "starts every node itself"),
    ],
)
def test_mistakes(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Exit code 2, one line that names the mistake, nothing on standard output, nothing made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").touch()
    try:
        code = main(words.split())
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert code == 2
    assert (out, err.count("\n")) == ("", 1), err
    assert err.startswith("plaunch")
    assert said in err
    assert len(err) < 700
    assert [path.name for path in tmp_path.iterdir()] == ["t.py"]


EMPTY = [
    "--cluster", "--hosts", "--gpus", "--procs", "--nodes", "--env", "--preload", "--compat",
    "--max-restarts", "--grace", "--failure-grace", "--timeout", "--run-dir", "--result", "--wait",
    "--time",
    "--partition", "--account", "--qos", "--signal-lead", "--array", "--sbatch", "--start",
    "--function",
]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "value"), [*((option, "") for option in EMPTY), ("--run-dir", " ")]
)
def test_empty_values(
    option: str, value: str, capsys: pytest.CaptureFixture[str], tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """An option whose variable was not set is a mistake, and never means the default."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.py").touch()
    try:
        code = main([option, value, "t.py"])
    except SystemExit as end:
        code = end.code
    _, err = capsys.readouterr()
    assert (code, err.count("\n")) == (2, 1), err
    assert option in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.py"]


def test_all_options_with_a_value_are_tried_empty() -> None:
    """A new option belongs into the list above."""
    actions = run_parser()._actions
    taking = {a.option_strings[0] for a in actions if a.option_strings and a.nargs != 0}
    assert taking == set(EMPTY)


@pytest.mark.parametrize("words", [["", "x"], ["cancel", ""], ["logs", ""], ["status", ""]])
def test_an_empty_word_is_no_program_and_no_job(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even the run whose folder is the current one."""
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    assert (code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_a_file_of_a_words_name_is_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is called like a mistyped word of ours is the user's program."""
    monkeypatch.chdir(tmp_path)
    for name in ("stauts", "run"):
        (tmp_path / name).touch()
        options = run_parser().parse_program([name, "x"])
        assert not is_no_program(options)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["nodes", "--help"],
        ["nothing.py"],
        ["status"],
        ["logs", "--help"],
    ],
)
def test_nothing_heavy_is_imported(words: list[str]) -> None:
    """Help, version and mistakes come without torch, yaml, paramiko, rich, numpy or ray."""
    code = (
        "import sys\nfrom launcher.cli.command import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'yaml', 'paramiko', 'rich', 'numpy', 'ray', 'cloudpickle', 'psutil'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("heavy: []\n"), done.stdout + done.stderr


def test_help_and_version_of_the_command() -> None:
    """The installed command itself; every option of a launch is in its help."""
    done = subprocess.run([PLAUNCH, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    for option in (
        "--cluster", "--hosts", "--nodes", "--gpus", "--procs", "--max-restarts", "--grace",
        "--failure-grace",
        "--timeout", "--env", "--preload", "--run-dir", "--restart", "--result", "--start",
        "--dry-run", "--verbose", "--quiet", "-m", "--no-python", "--time", "--partition",
        "--account", "--qos", "--requeue", "--signal-lead", "--array", "--sbatch", "--detach",
        "--new-job",
    ):  # fmt: skip
        assert f"{option}" in done.stdout, option
    done = subprocess.run([PLAUNCH, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("plaunch ")


def test_numbers_of_ranks() -> None:
    """torchrun's words for --nproc-per-node, and a number."""
    assert num_procs(None) is num_procs("gpu") is num_procs("auto") is None
    assert num_procs("3") == 3
    assert (num_procs("cpu") or 0) >= 1
    with pytest.raises(UsageError):
        num_procs("-1")


def test_variables() -> None:
    """By value and by name; a value may hold anything."""
    assert parse_env(["A=1=2", "B", "C="], {"B": "x y"}) == {"A": "1=2", "B": "x y", "C": ""}


def test_a_job_is_complete(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids differ, paths are absolute, a secret is in no repr."""
    monkeypatch.chdir(tmp_path)
    options = RunOptions(result_file="r.json", env={"TOKEN": "hunter2"}, nodes=(1, 2))
    job = make_job(options, Program("script", "a b/tr$ain.py", ("x",)))
    assert job.id != make_job(options, job.program).id
    assert job.result_file == str(tmp_path / "r.json")
    assert job.run_dir.startswith(str(tmp_path / "plaunch_runs"))
    assert "tr-ain.py" in job.run_dir
    assert "hunter2" not in repr(job) + repr(options)
    assert (job.min_nodes, job.max_nodes) == (1, 2)


def test_a_jobs_id_is_no_number_of_slurm() -> None:
    """Or `plaunch cancel ID` could mean two jobs."""
    assert not any(slurmctl.JOB_ID.fullmatch(make_id()) for _ in range(2000))
