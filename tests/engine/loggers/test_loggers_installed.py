"""Loggers of other services against the real libraries, offline: where they are installed."""

import importlib.util
import subprocess
import sys
import zipfile

import pytest

PROGRAM = """
import sys
from engine.loggers import *
{make}
for metrics, step in (({{"loss": 1.0, "epoch": 0.0}}, 0), ({{"loss": 0.5, "epoch": 1.0}}, 1)):
    logger.log_metrics(metrics, step)
logger.log_hyperparams({{"lr": 0.1, "net": {{"width": 3}}}})
logger.save()
logger.finalize("success")
logger.log_metrics({{"test": 0.25}}, 2)
logger.finalize("success")
{check}
"""


def run(folder, library, make, check="") -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = folder / "program.py"
    program.write_text(PROGRAM.format(make=make, check=check))
    done = subprocess.run(
        [sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("where", ["save_dir='runs'", "tracking_uri='file:./runs'"])
def test_mlflow_in_a_folder(tmp_path, where):
    """S226: MLflow itself reads back what was logged."""
    check = (
        "assert logger.version == logger.run_id\n"
        "run = logger.experiment.get_run(logger.run_id)\n"
        "assert run.data.metrics == {'loss': 0.5, 'epoch': 1.0, 'test': 0.25}, run.data.metrics\n"
        "assert run.data.params == {'lr': '0.1', 'net/width': '3'}\n"
        "assert run.info.status == 'FINISHED'\n"
        "steps = logger.experiment.get_metric_history(logger.run_id, 'loss')\n"
        "assert [(m.step, m.value) for m in steps] == [(0, 1.0), (1, 0.5)]\n"
        f"again = MLFlowLogger({where}, run_id=logger.run_id)\n"
        "again.log_hyperparams({'lr': 0.1, 'new': 2})\n"
        "assert again.experiment.get_run(again.run_id).data.params['new'] == '2'\n"
    )
    run(tmp_path, "mlflow", f"logger = MLFlowLogger({where})", check)
    assert list(tmp_path.glob("runs/*/*/metrics/loss"))


def test_wandb_offline(tmp_path):
    """S226: wandb keeps configuration and last values, in the folder that was given."""
    check = (
        "assert logger.version == logger.experiment.id\n"
        "assert dict(logger.experiment.config) == {'lr': 0.1, 'net': {'width': 3}}\n"
        "last = logger.experiment.summary\n"
        "assert (last['loss'], last['test'], last['trainer/global_step']) == (0.5, 0.25, 2)\n"
    )
    run(tmp_path, "wandb", "logger = WandbLogger(save_dir='w', offline=True)", check)
    assert list(tmp_path.glob("w/wandb/offline-run-*/run-*.wandb"))


def test_comet_offline(tmp_path):
    """S224: CometLogger(save_dir=...) works offline and leaves archives to be uploaded."""
    run(tmp_path, "comet_ml", "logger = CometLogger(save_dir='logs/')")
    texts = [zipfile.ZipFile(path).read("messages.json") for path in tmp_path.glob("logs/*.zip")]
    assert any(b'"test"' in text for text in texts)
    assert any(b"net/width" in text for text in texts)


def test_neptune_offline(tmp_path):
    """S226: Neptune takes all of it offline, and ends with the process."""
    make = "logger = NeptuneLogger(project='team/p', name='n', offline_mode=True)"
    run(tmp_path, "neptune", make, "assert logger.version is None  # it is drawn by the server")
    assert list(tmp_path.glob(".neptune/offline/*"))
