"""From options to what Ray is asked for; what is refused before anything is started."""

import subprocess
import sys

import pytest

from launcher.clusters.ray.bundles import Ask
from launcher.clusters.ray.request import check_address, parse
from launcher.core.errors import ConfigError
from launcher.core.job import RunOptions

WITHOUT_RAY = """\
import sys
sys.modules["ray"] = None
from launcher.cli.command import main
sys.exit(main(sys.argv[1:]))"""


@pytest.mark.parametrize(
    ("options", "ask"),
    [
        (RunOptions(), Ask("auto")),
        (RunOptions(gpus="8", nodes=(4, 4)), Ask("count", 8, None, 4, 4)),
        (RunOptions(gpus="0", procs=2, nodes=(2, 4)), Ask("count", 0, 2, 2, 4)),
        (RunOptions(gpus="free:2"), Ask("free", 2)),
        (RunOptions(gpus="free", procs=3), Ask("free", None, 3)),
        (RunOptions(gpus="all"), Ask("all")),
    ],
)
def test_options_become_an_ask(options: RunOptions, ask: Ask) -> None:
    """GPUs, ranks and nodes."""
    assert parse(options) == ask


@pytest.mark.parametrize("gpus", ["0,1", "3,", "GPU-12ab", "host1:0;host2:1", "host[1-2]:2"])
def test_gpus_can_not_be_named(gpus: str) -> None:
    """Ray gives what it likes."""
    with pytest.raises(ConfigError, match="Ray chooses which GPUs a run gets, so ask for a number"):
        parse(RunOptions(gpus=gpus))


def test_addresses_of_something_else() -> None:
    """Ray's client and its dashboard are no way in, and it is said what is."""
    with pytest.raises(ConfigError, match="ray job submit -- plaunch"):
        check_address("ray://head:10001")
    with pytest.raises(ConfigError, match="ray job submit --address http://head:8265 -- plaunch"):
        check_address("http://head:8265")
    for address in ("auto", "head:6379", "10.0.0.1:6379", "[fd00::1]:6379"):
        check_address(address)


@pytest.mark.parametrize("words", [["train.py"], ["--cluster", "ray", "train.py"]])
def test_without_ray_one_line_says_what_to_install(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, at once."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    command = [sys.executable, "-c", WITHOUT_RAY, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "plaunch: --cluster ray needs Ray on this machine: pip install 'plaunch[ray]'"
    ]


def test_an_option_of_ray_alone() -> None:
    """--wait must be a number of seconds."""
    command = [sys.executable, "-m", "launcher", "--wait", "long", "train.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "'long' is not a number of seconds" in done.stderr
