"""Values of variables from a cluster file are nowhere to be seen."""

from __future__ import annotations

import pytest

from tests.launcher.support.runs import Launcher

BAD = [
    "env: TOKEN=s3cret",
    "env: {TOKEN: *s3cret}",
    "env: {TOKEN: [s3cret]}",
    "env: {'A=s3cret': }",
]


def test_values_are_in_no_output_and_no_file(plaunch: Launcher) -> None:
    """Not in --dry-run, doctor or a run that fails, nor in what a run leaves behind."""
    plaunch.write("cluster.yaml", "cluster: local\nenv: {TOKEN: s3cret}\n")
    plaunch.write(
        "job.py", "import os\nassert len(os.environ['TOKEN']) == 6\nraise KeyError('x')\n"
    )
    words = ("--cluster", "cluster.yaml")
    dry = plaunch(*words, "--dry-run", "job.py").ok()
    assert "s3cret" not in dry.out + dry.err
    doctor = plaunch("doctor", *words)
    assert "s3cret" not in doctor.out + doctor.err
    done = plaunch(*words, "--start", "cold", "--verbose", "job.py")
    assert done.code == 1
    assert done.verdict["exception"]["type"] == "KeyError"
    assert "s3cret" not in done.out + done.err
    assert done.run_dir is not None
    for file in done.run_dir.rglob("*"):
        assert file.is_dir() or "s3cret" not in file.read_text(), file


@pytest.mark.parametrize("text", BAD)
def test_a_mistake_shows_no_value(plaunch: Launcher, text: str) -> None:
    """What is wrong with the file is said with its line, and without what stands there."""
    plaunch.write("cluster.yaml", f"cluster: local\n{text}\n")
    plaunch.write("job.py", "")
    done = plaunch("--cluster", "cluster.yaml", "job.py")
    assert done.code == 2
    assert "cluster.yaml:2" in done.err
    assert "s3cret" not in done.err
    assert "Traceback" not in done.err
