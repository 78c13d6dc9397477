"""CodeSnapshotLogger: the code of a run can be had again."""

import subprocess
import sys

import pytest

from engine import loggers
from engine.loggers import CodeSnapshotLogger
from engine.loggers.folders.snapshot import read_code
from tests.engine.support.toy import Toy, loader, quiet

PROGRAM = """
from engine.loggers import TestTubeLogger
logger = TestTubeLogger('logs/', create_git_tag=True, description='a try')
logger.log_metrics({'loss': 1.0}, 0)
logger.finalize('success')
print(logger.log_dir)
"""


def git(folder, *words) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project with a commit, a changed text, a changed picture and a file that git ignores."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "model.py").write_text("width = 1\n")
    (folder / "picture").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("logs\nsecret\n")
    (folder / "train.py").write_text(PROGRAM)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (folder / "model.py").write_text("width = 2  # \u00e9\n")
    (folder / "picture").write_bytes(bytes(range(255, -1, -1)))
    (folder / "secret").write_text("token")
    (folder / "new.py").write_text("x = 1\n")
    return folder


def test_the_code_of_a_run_can_be_had_again(checkout, tmp_path):
    """S225: commit and diff lie with the run; applied to that commit they give the same files."""
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=checkout, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    code = checkout / done.stdout.strip() / "code"
    assert code.parent == checkout / "logs" / "default" / "version_0"
    assert (code / "commit.txt").read_text() == git(checkout, "rev-parse", "HEAD")
    assert (code / "untracked.txt").read_text().split() == ["new.py"]
    assert (code / "description.txt").read_text() == "a try\n"
    assert git(checkout, "tag") == ""

    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(checkout), str(again))
    git(again, "apply", str(code / "changes.diff"))
    for name in ("model.py", "picture"):
        assert (again / name).read_bytes() == (checkout / name).read_bytes()


def test_without_a_repository_the_run_goes_on(tmp_path, monkeypatch):
    """S225: no git checkout, or no git, is a warning; metrics are logged as ever."""
    monkeypatch.setattr("engine.loggers.folders.snapshot.script_folder", lambda: tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    logger = CodeSnapshotLogger(tmp_path / "logs")
    with pytest.warns(UserWarning, match="the state of the code is not kept: .*not a git repo"):
        quiet(tmp_path, logger=logger).fit(Toy(), loader(), loader())
    assert list((tmp_path / "logs" / "default" / "version_0").glob("events*"))

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.warns(UserWarning, match="not kept: .*git"):
        CodeSnapshotLogger(tmp_path / "logs").save()


def test_debug_writes_nothing(tmp_path):
    """S005, C9: TestTubeLogger is its old name; debug=True leaves no trace."""
    assert loggers.TestTubeLogger is CodeSnapshotLogger
    logger = loggers.TestTubeLogger(tmp_path / "logs", debug=True)
    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_hyperparams({"lr": 1})
    logger.experiment.add_scalar("x", 1, 0)
    logger.save()
    logger.finalize("success")

    assert not (tmp_path / "logs").exists()


def test_what_is_no_checkout_is_an_error(tmp_path, monkeypatch):
    """read_code reads, or raises; it never makes a repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(subprocess.CalledProcessError):
        read_code(tmp_path)
