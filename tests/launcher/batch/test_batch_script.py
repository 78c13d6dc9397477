"""Batch scripts for SLURM: whole scripts byte for byte, and words that nothing may change."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from launcher.batch.options import BatchOptions, directives, merge
from launcher.batch.script import Request, render, run_dir
from launcher.cli.options import run_parser
from launcher.core.errors import UsageError
from launcher.core.job import Program, RunOptions
from launcher.request.cluster_file import SlurmOptions

GOLDEN = Path(__file__).parent / "golden"
SCRIPT = Program("script", "train.py", ("--lr", "0.1"))
PLAIN = Request(RunOptions(), SCRIPT, "python3")

REQUESTS = {
    "plain": PLAIN,
    "everything": Request(
        RunOptions(
            nodes=(2, 4),
            gpus="8",
            procs=4,
            max_restarts=3,
            grace_s=2.5,
            failure_grace_s=1.5,
            timeout_s=3600.0,
            env={"TOKEN": "hunter2", "MODE": "a b"},
            preload=("numpy", "my.module"),
            start="cold",
            run_dir="runs of mine/$HOME",
            restart=True,
            result_file="result.json",
        ),
        Program("module", "pack.train", ("", "a b", "it's", '"q"', "$(x)", "; x", "a\nb", "-x")),
        "/opt/an env/bin/python",
        BatchOptions(
            time="1-12",
            partition="gpu,big",
            account="team a",
            qos="high",
            requeue=True,
            signal_lead_s=300,
            extra=(("--exclusive",), ("--constraint", "a100&nvlink"), ("--comment=a #b",)),
        ),
        workdir="/shared/my project",
        env_names=("MODE", "TOKEN"),
        talk="--verbose",
    ),
    "array": Request(
        RunOptions(procs=3, result_file="result.json"),
        Program("program", "./my program", ("-n",)),
        "python3",
        BatchOptions(array="0-7%2"),
    ),
    "array_in_a_folder": Request(
        RunOptions(run_dir="my runs"), SCRIPT, "python3", BatchOptions(array="1,3")
    ),
    "function": Request(
        RunOptions(nodes=(1, 1), gpus="0", procs=2, run_dir="plaunch_runs/fit-0a1b2c3d"),
        Program("function", "fit", (), b"pickled"),
        "python3",
        function_file="plaunch_runs/fit-0a1b2c3d/function-4e5f.pickle",
    ),
    "own_gpus": Request(
        RunOptions(gpus="all"), SCRIPT, "python3", BatchOptions(extra=(("--gres=gpu:a100:4",),))
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_whole_scripts(name: str) -> None:
    """The script is what it was, to the byte (PLAUNCH_WRITE_GOLDEN=1 writes it anew)."""
    file = GOLDEN / f"{name}.sbatch"
    text = render(REQUESTS[name])
    if os.environ.get("PLAUNCH_WRITE_GOLDEN"):
        file.write_text(text)

    assert text == file.read_text()


def test_no_value_of_a_variable_is_in_a_script() -> None:
    """--env NAME=VALUE is in it as a name only."""
    assert "hunter2" not in render(REQUESTS["everything"])
    assert "hunter2" not in repr(REQUESTS["everything"])


def received(request: Request) -> list[str]:
    """The words that the program of a script gets from the real bash."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Path(folder, "it's a python $(x)")
        recorder.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
        recorder.chmod(0o700)
        script = render(replace(request, python=str(recorder)))
        done = subprocess.run(
            ["/bin/bash", "-s"],
            input=script.encode("utf-8", "surrogateescape"),
            env={"SLURM_JOB_ID": "12", "HOME": "/wrong", "PATH": "/usr/bin:/bin"},
            cwd=folder,
            capture_output=True,
            check=True,
        )
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


# All that a word of a command line can be on this system: any bytes but NUL.
BYTES = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"n"))
ODD = st.lists(
    st.sampled_from([" ", "'", '"', "\\", "\n", "\r\n", "\t", "$(x)", "`x`", "$HOME", "; x", "-"])
    | st.sampled_from(["--", "#", "!", "*", "~", "=", "%j", "\x1b[0m", "é", "#SBATCH --hold\n"]),
    max_size=6,
).map("".join)
WORDS = BYTES.map(os.fsdecode) | ODD


@example("t.py", ["--"], "f", "m", "--")
@example("t.py", ["--", "a", "--"], "f", "--", "r")
@given(WORDS.filter(bool), st.lists(WORDS, max_size=4), WORDS.filter(bool), WORDS, WORDS)
@settings(max_examples=150)
def test_every_word_arrives_as_it_was(
    target: str, args: list[str], folder: str, module: str, result: str
) -> None:
    """Through the script, the real bash, and our own parser: nothing is changed, nothing run."""
    request = Request(
        RunOptions(run_dir=folder, preload=(module,), result_file=result),
        Program("script", target, tuple(args)),
        "python3",
    )

    words = received(request)

    assert words[0] == "-c"
    options = run_parser().parse_program(words[2:])
    assert (options.program, options.args) == (target, args)
    assert (options.preload, options.result_file) == ([module], result)
    assert options.run_dir in (folder, f"./{folder}")


def test_a_word_with_nul_is_refused() -> None:
    """No command can hold one; bash would drop it in silence."""
    with pytest.raises(UsageError, match="NUL"):
        render(replace(PLAIN, program=Program("script", "t.py", ("a\0b",))))


def test_the_run_folder_is_the_jobs() -> None:
    """From outside it is found by the job's number, where bash inside names it."""
    words = received(PLAIN)
    assert words[words.index("--run-dir") + 1] == run_dir(PLAIN, "12") == "plaunch_runs/train.py-12"
    assert run_dir(REQUESTS["array"], "12", 3) == "plaunch_runs/my-program-12_3"
    assert run_dir(REQUESTS["array_in_a_folder"], "12", 3) == "my runs/3"
    assert run_dir(REQUESTS["everything"], "12") == "runs of mine/$HOME"


def sbatch_understands(request: Request, folder: Path) -> dict[str, str]:
    """What the real sbatch reads from a script; no SLURM needs to run for it."""
    (folder / "slurm.conf").write_text(
        "ClusterName=c\nSlurmctldHost=localhost\nSlurmctldPort=1\nAuthType=auth/munge\n"
        "GresTypes=gpu\nNodeName=localhost\nPartitionName=p Nodes=ALL\n"
    )
    env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["sbatch", "-vv", "--test-only"], env=env, stdin=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(render(request))
        process.stdin.close()
        lines = []
        for line in process.stderr:
            if "end of defined options" in line:
                break  # what follows is the vain search for a controller
            lines.append(line.removeprefix("sbatch: ").rstrip("\n"))
        process.kill()
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    return {name.strip(): value for name, value in found.items()}


needs_sbatch = pytest.mark.skipif(shutil.which("sbatch") is None, reason="needs slurm-client")
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)


@needs_sbatch
@given(PRINTABLE.map(str.strip).filter(bool), PRINTABLE.map(str.strip).filter(bool))
@settings(max_examples=40)
def test_sbatch_reads_its_lines_as_they_are_meant(account: str, comment: str) -> None:
    """Blanks, quotes, backslashes and # in a value reach the real sbatch unchanged."""
    options = BatchOptions(account=account, extra=(("--comment", comment), ("--nice=7",)))
    with tempfile.TemporaryDirectory() as folder:
        found = sbatch_understands(replace(PLAIN, options=options), Path(folder))

    assert (found["account"], found["comment"]) == (account, comment)
    assert found["nice"] == "7"


@needs_sbatch
def test_sbatch_understands_all_that_we_write(tmp_path: Path) -> None:
    """Every option of a script arrives in the real sbatch."""
    found = sbatch_understands(replace(REQUESTS["everything"], workdir=str(tmp_path)), tmp_path)

    expected = {
        "job-name": "pack.train",
        "nodes": "2-4",
        "ntasks-per-node": "1",
        "gpus-per-node": "8",
        "time": "1-12:00:00",
        "partition": "gpu,big",
        "account": "team a",
        "qos": "high",
        "chdir": str(tmp_path),
        "output": f"{tmp_path}/slurm-%j.out",
        "error": f"{tmp_path}/slurm-%j.err",
        "open-mode": "a",
        "requeue": "requeue",
        "signal": "B:USR2@300",
        "constraint": "a100&nvlink",
        "comment": "a #b",
    }
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("field", ["partition", "account", "qos"])
def test_what_a_line_for_sbatch_cant_hold_is_refused(field: str) -> None:
    """A newline would begin a line of its own."""
    options = replace(BatchOptions(), **{field: "a\n#SBATCH --uid=0"})
    with pytest.raises(UsageError, match=f"--{field}.*control characters"):
        render(replace(PLAIN, options=options))


@pytest.mark.parametrize(
    ("gpus", "said"),
    [("all", "how many"), ("free", "how many"), ("0,1", "SLURM chooses"), ("h1:0;h2:1", "chooses")],
)
def test_gpus_that_slurm_cant_give(gpus: str, said: str) -> None:
    """SLURM wants a number, and picks them itself."""
    with pytest.raises(UsageError, match=said):
        render(replace(PLAIN, run=RunOptions(gpus=gpus)))


def test_the_users_own_words_stand_instead_of_ours() -> None:
    """No option is there twice, whether it is written short or long."""
    extra = (("-N", "7"), ("--cpus-per-task=9",), ("--job-name", "mine"))
    request = replace(PLAIN, run=RunOptions(procs=2), options=BatchOptions(extra=extra))

    lines = [line for line in render(request).splitlines() if line.startswith("#SBATCH")]

    assert [line.split()[1] for line in lines] == [
        "--ntasks-per-node=1", "--output=slurm-%j.out", "--error=slurm-%j.err",
        "--open-mode=append", "-N", "--cpus-per-task=9", "--job-name",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "time", ["0", "90", "90:30", "2:00:00", "1-12", "1-12:30", "1-0:0:0", "UNLIMITED", "infinite"]
)
def test_times_that_slurm_knows(time: str) -> None:
    """All forms of its manual."""
    assert merge(RunOptions(time=time), SlurmOptions()).time == time


@pytest.mark.parametrize("time", ["", "2h", "1:2:3:4", "1-", "-5", "1-12:30:00:00", "90 ", "½"])
def test_times_that_it_does_not_know(time: str) -> None:
    """Said here, with the forms that there are."""
    with pytest.raises(UsageError, match="hours:minutes:seconds"):
        merge(RunOptions(), SlurmOptions(time=time))


def test_the_command_line_wins_over_the_file() -> None:
    """Each option for itself; words for sbatch come from both, the file's first."""
    file = SlurmOptions("gpu", "team", "90", 60, ("--exclusive",))
    options = RunOptions(partition="big", time="5", sbatch=("--nice=7 -C a100",))

    assert merge(RunOptions(), file) == BatchOptions("90", "gpu", "team", None, False, 60, None, (
        ("--exclusive",),
    ))  # fmt: skip
    assert merge(options, file) == BatchOptions("5", "big", "team", None, False, 60, None, (
        ("--exclusive",), ("--nice=7",), ("-C", "a100"),
    ))  # fmt: skip


def test_a_job_that_may_come_back_is_warned() -> None:
    """--requeue asks for a signal two minutes before the end, --signal-lead for any other."""
    assert merge(RunOptions(), SlurmOptions()).signal_lead_s is None
    assert merge(RunOptions(requeue=True), SlurmOptions()).signal_lead_s == 120
    assert merge(RunOptions(requeue=True), SlurmOptions(signal_lead_s=60)).signal_lead_s == 60
    assert merge(RunOptions(requeue=True, signal_lead_s=9), SlurmOptions(signal_lead_s=60)) == (
        BatchOptions(requeue=True, signal_lead_s=9)
    )


@pytest.mark.parametrize("array", ["0-7", "0-7%2", "1,3,5", "0-15:4", "3", "1-4,9-12:2%5"])
def test_arrays(array: str) -> None:
    """SLURM's forms."""
    assert merge(RunOptions(array=array), SlurmOptions()).array == array


@pytest.mark.parametrize("array", ["a", "1-", "-3", "0-7%", "0-7%0", "1,,2", "0-7 "])
def test_arrays_that_are_none(array: str) -> None:
    """Said here, with an example."""
    with pytest.raises(UsageError, match="0-7%2"):
        merge(RunOptions(array=array), SlurmOptions())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("--exclusive", [("--exclusive",)]),
        ("--exclusive -C a100 --nice", [("--exclusive",), ("-C", "a100"), ("--nice",)]),
        ("--comment='two words'", [("--comment=two words",)]),
        ("--comment 'two words'", [("--comment", "two words")]),
    ],
)
def test_words_for_sbatch(text: str, lines: list[tuple[str, ...]]) -> None:
    """As a shell would split them, an option and its value together."""
    assert directives([text]) == lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exclusive", "'exclusive' is no option"),
        ("--nice=7 9", "'9' is no option"),
        ("-C a b", "'b' is no option"),
        ("--comment='x", "no closing quotation"),
        ("--array=0-7", "plaunch's own --array"),
        ("-a0-7", "plaunch's own --array"),
        ("--wrap ls", "plaunch writes the script"),
        ("-o out", "slurm-JOBID.out"),
        ("--error=x", "slurm-JOBID.err"),
        ("--chdir /tmp", "workdir"),
        ("--wait", "waits by itself"),
        ("--export=NONE", "--env"),
    ],
)
def test_words_for_sbatch_that_are_refused(text: str, said: str) -> None:
    """What is no option of it, and what plaunch does itself."""
    with pytest.raises(UsageError, match=said):
        directives([text])
