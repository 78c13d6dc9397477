"""Every option of a run is written down once, and nothing that is derived from it forgets one."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import fields, replace
from typing import Any

import pytest

from launcher import launch, submit
from launcher.batch.options import BatchOptions, merge
from launcher.batch.script import Request, render
from launcher.cli.options import GROUPS, KINDS, run_parser
from launcher.core.job import Job, Program, RunOptions
from launcher.core.options import OPTIONS
from launcher.request.cluster_file import SlurmOptions
from launcher.request.request import make_job
from launcher.request.resume_command import NOT_AGAIN, resume_command
from launcher.request.values import from_command_line, from_keywords
from launcher.request.words import command_words, is_given

SCRIPT = Program("script", "train.py")
# Of each kind a value that is no default.
VALUES: dict[str, Any] = {
    "text": "7", "texts": ("a", "-b"), "flag": True, "choice": "cold", "count": 7, "number": 3,
    "ranks": 4, "seconds": 2.5, "nodes": (2, 4), "variables": {"MODE": "a b"},
}  # fmt: skip
ALL = RunOptions(**{name: VALUES[option.kind] for name, option in OPTIONS.items()})


def values_of(options: RunOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in OPTIONS}


def typed(words: list[str]) -> RunOptions:
    """What the command line makes of words, in an environment that has our variables."""
    parsed = run_parser().parse_program([*words, "train.py"])
    return from_command_line(vars(parsed), {"MODE": "a b"})


def words_of_script(options: RunOptions, batch: BatchOptions | None = None) -> list[str]:
    """The words of plaunch in the batch script, before the program."""
    request = Request(options, SCRIPT, "python3", batch or BatchOptions())
    request = replace(request, env_names=tuple(options.env))
    command = render(request).rpartition("sys.exit(main())'")[2].replace("\\\n", " ")
    return shlex.split(command)[:-1]


def test_every_field_is_an_option_with_all_that_it_needs() -> None:
    """A kind that the command line can read, a heading of --help, a default, a help line."""
    assert [field.name for field in fields(RunOptions)] == list(OPTIONS)
    for name, option in OPTIONS.items():
        assert option.group in GROUPS, name
        assert option.kind in KINDS, name
        assert option.help, name
        assert not is_given(RunOptions(), name)
        assert is_given(ALL, name)


def test_the_command_line_has_every_option_and_its_default() -> None:
    """Nothing typed is nothing asked for."""
    assert typed([]) == RunOptions()


@pytest.mark.parametrize("name", OPTIONS, ids=lambda name: OPTIONS[name].word)
def test_an_option_alone_survives_the_command_line(name: str) -> None:
    """From the object to words and back."""
    options = replace(RunOptions(), **{name: getattr(ALL, name)})

    assert typed(command_words(options, OPTIONS)) == options


def test_all_options_together_survive_the_command_line() -> None:
    """Also beside each other."""
    assert typed(command_words(ALL, OPTIONS)) == ALL


@pytest.mark.parametrize("function", [launch, submit])
def test_every_option_is_a_keyword(function: Any) -> None:
    """With its default, but for those that the table keeps for the command line."""
    shown = inspect.signature(function).parameters
    keywords = {name for name, option in OPTIONS.items() if option.keyword}

    assert set(shown) == {*keywords, "program", "args", "kwargs", "compat", "check", "quiet"}
    given = {name: shown[name].default for name in keywords}
    assert from_keywords(given) == RunOptions()
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in keywords)


def test_keywords_mean_what_the_command_line_means() -> None:
    """By the same names, with the same values."""
    assert from_keywords(values_of(ALL)) == ALL
    assert from_keywords({"nodes": 2, "gpus": 8, "time": 90, "sbatch": "--x"}) == RunOptions(
        nodes=(2, 2), gpus="8", time="90", sbatch=("--x",)
    )


def test_a_job_has_every_option() -> None:
    """With the paths made absolute, and nothing else changed."""
    job = make_job(ALL, SCRIPT)
    paths = ("run_dir", "result_file")

    assert isinstance(job, Job)
    assert {n: v for n, v in values_of(job).items() if n not in paths} == {
        n: v for n, v in values_of(ALL).items() if n not in paths
    }
    assert job.run_dir.endswith("/7")


@pytest.mark.parametrize("name", OPTIONS, ids=lambda name: OPTIONS[name].word)
def test_an_option_reaches_the_job_in_slurm(name: str) -> None:
    """Each stands in the script's command, or among what sbatch is asked for, or ends here."""
    options = replace(RunOptions(), **{name: getattr(ALL, name)})
    ends_here = {"cluster", "hosts", "wait_s", "detach", "new_job"}
    batch_fields = {field.name for field in fields(BatchOptions)} | {"sbatch"}

    if OPTIONS[name].inside or name == "run_dir":
        inside = typed(words_of_script(options))
        assert getattr(inside, name) == getattr(options, name)
    elif name in batch_fields:
        asked = {"time": "7", "array": "7", "sbatch": ("--x",)}.get(name, getattr(ALL, name))
        changed = merge(replace(RunOptions(), **{name: asked}), SlurmOptions())
        assert changed != merge(RunOptions(), SlurmOptions())
    else:
        assert name in ends_here


def test_the_command_that_resumes_a_run_has_every_option() -> None:
    """But for those that would begin anew."""
    line = resume_command(ALL, SCRIPT, "7", {"MODE": "a b"})
    assert line is not None
    resumed = typed(shlex.split(line)[1:-1])

    assert resumed == replace(ALL, **dict.fromkeys(NOT_AGAIN, False))
