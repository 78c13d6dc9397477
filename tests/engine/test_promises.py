"""What engine promises beside single functions: names that stay, a light import, one folder."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine import MisconfigurationException, Trainer, loggers
from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from engine.compat.arguments import OLD
from engine.loggers import CSVLogger, TensorBoardLogger
from engine.profilers import SimpleProfiler
from engine.trainer.options import SHOWN
from tests.engine.support.toy import Toy, loader, quiet

ROOT = Path(__file__).parents[2]

# What programs use. A name may be added here; who takes one away breaks programs.
NAMES = {
    "engine": """Callback CheckpointError LightningCallback LightningDataModule LightningModule
        MisconfigurationException Trainer callbacks loggers metrics profilers rank_zero_info
        rank_zero_only rank_zero_warn seed_everything wrap""",
    "engine.callbacks": """BackboneFinetuning BaseFinetuning BasePredictionWriter Callback
        DeviceStatsMonitor EMAWeightAveraging EarlyStopping GPUStatsMonitor
        GradientAccumulationScheduler LambdaCallback LearningRateLogger LearningRateMonitor
        ModelCheckpoint ModelPruning ModelSummary OnExceptionCheckpoint PredictionWriter
        PrintTableMetricsCallback ProgressBar ProgressBarBase QuantizationAwareTraining
        RichModelSummary RichProgressBar StochasticWeightAveraging TQDMProgressBar Timer
        WeightAveraging XLAStatsMonitor""",
    "engine.loggers": """CSVLogger CodeSnapshotLogger CometLogger DummyLogger Logger MLFlowLogger
        MemoryLogger NeptuneLogger TensorBoardLogger TestTubeLogger WandbLogger""",
    "engine.profilers": """AdvancedProfiler PassThroughProfiler Profiler PyTorchProfiler
        SimpleProfiler""",
    "engine.tuner": "Tuner",
}
ARGUMENTS = """accelerator accumulate_grad_batches amp_backend amp_level auto_lr_find
    auto_scale_batch_size auto_select_gpus barebones benchmark callbacks check_val_every_n_epoch
    checkpoint_callback default_root_dir detect_anomaly deterministic devices distributed_backend
    enable_autolog_hparams enable_checkpointing enable_model_summary enable_progress_bar
    fast_dev_run flush_logs_every_n_steps gpus gradient_clip_algorithm gradient_clip_val
    inference_mode limit_predict_batches limit_test_batches limit_train_batches limit_val_batches
    log_every_n_steps log_gpu_memory logger max_epochs max_steps max_time min_epochs min_steps
    move_metrics_to_cpu multiple_trainloader_mode num_nodes num_processes num_sanity_val_steps
    overfit_batches plugins precision prepare_data_per_node process_position profiler
    progress_bar_refresh_rate reload_dataloaders_every_epoch reload_dataloaders_every_n_epochs
    replace_sampler_ddp resume_from_checkpoint stochastic_weight_avg strategy sync_batchnorm
    terminate_on_nan track_grad_norm truncated_bptt_steps use_distributed_sampler
    val_check_interval weights_save_path weights_summary"""


@pytest.mark.parametrize("package", NAMES)
def test_names_stay(package):
    """S246: the public names are those that are written down here, and perhaps more."""
    module = importlib.import_module(package)
    gone = [n for n in NAMES[package].split() if n not in module.__all__ or not hasattr(module, n)]
    assert gone == []


def test_arguments_stay():
    """S246: so are the Trainer's arguments."""
    known = {option.name for option in (*SHOWN, *OLD)}
    assert set(ARGUMENTS.split()) - known == set()


def test_installing_replaces_no_torch():
    """S248: torch is bounded from below only, and what the base install wants is either without
    torch or content with any."""
    text = (ROOT / "pyproject.toml").read_text()
    wanted = re.search(r"^dependencies = \[(.*?)^\]", text, flags=re.M | re.S).group(1)
    requirements = re.findall(r'"([^"]+)"', wanted)
    assert [r for r in requirements if r.startswith("torch")] == ["torch>=2.9"]
    assert not any(mark in r for r in requirements for mark in ("<", "==", "~="))


def test_the_import_is_light():
    """S249: `import engine` loads one module; a Trainer and a module load those of engine, beside
    torch and numpy nothing that is not Python's own."""
    code = """
import sys, torch, numpy
before = set(sys.modules)
import engine
print(*(set(sys.modules) - before))
from engine import LightningModule, Trainer
print(*(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    first, second = (line.split() for line in done.stdout.splitlines())
    assert first == ["engine"]
    foreign = {name.split(".")[0] for name in second} - {"engine"}
    assert foreign <= set(sys.stdlib_module_names), foreign
    assert len(second) < 150


def test_a_page_says_what_goes_into_a_callback(tmp_path, capsys):
    """S221: the docs have a section on it, and its callback runs."""
    page = (ROOT / "docs" / "engine.md").read_text()
    section = page.split("## Module or callback\n")[1].split("\n## ")[0]
    assert "| into the module | into a callback |" in section
    scope = {}
    exec(re.search(r"```python\n(.*?)```", section, flags=re.S).group(1), scope)
    quiet(tmp_path, callbacks=scope["SaysLoss"]()).fit(Toy(), loader(), loader())
    assert re.fullmatch(r"0 0\.\d+", capsys.readouterr().out.strip())


def test_all_of_a_run_is_in_one_folder(tmp_path):
    """S243: two loggers and the checkpoints share the run's one version folder, by default and
    where both loggers have the same root."""
    trainer = quiet(
        tmp_path,
        logger=[TensorBoardLogger(tmp_path, "runs"), CSVLogger(tmp_path, "runs")],
        enable_checkpointing=True,
        log_every_n_steps=1,
    )
    trainer.fit(Toy(), loader(), loader())
    run = tmp_path / "runs" / "version_0"
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["version_0"]
    assert (run / "metrics.csv").exists() and list(run.glob("events.out.tfevents*"))
    assert list(run.glob("checkpoints/*.ckpt")) and trainer.log_dir == str(run)


@pytest.mark.filterwarnings("ignore:the state of the code is not kept")
def test_the_tutorials_loggers_share_one_folder(tmp_path, monkeypatch):
    """S225, S243: those of the tutorial, each made with the same root, in whichever spelling, and
    the profiler's report; a name or a root of its own still is one."""
    monkeypatch.chdir(tmp_path)
    same = [TensorBoardLogger("logs/"), loggers.TestTubeLogger("./logs", create_git_tag=True)]
    csv = CSVLogger(tmp_path / "logs")
    own = CSVLogger("logs", name="own")
    trainer = quiet(
        tmp_path / "unused",
        logger=[*same, csv, own],
        enable_checkpointing=True,
        profiler=SimpleProfiler(filename="times"),
        log_every_n_steps=1,
    )
    trainer.fit(Toy(), loader(), loader())
    run = tmp_path / "logs" / "lightning_logs" / "version_0"
    assert {os.path.abspath(logger.log_dir) for logger in (*same, csv)} == {str(run)}
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} <= {
        run,
        run / "code",
        run / "checkpoints",
        tmp_path / "logs" / "own" / "version_0",
    }
    assert len(list(run.glob("*tfevents*"))) == 2 and len(list(run.rglob("*.ckpt"))) == 1
    assert (run / "metrics.csv").exists() and (run / "fit-times.txt").exists()


def test_a_trial_run_leaves_out_what_belongs_to_real_ones(tmp_path):
    """S218: with fast_dev_run there is no tuner, checkpoint, early stop, logger or rate."""
    log = CSVLogger(tmp_path)
    monitors = [
        LearningRateMonitor("step"),
        EarlyStopping("no_such_metric"),
        ModelCheckpoint(tmp_path, monitor="no_such_metric"),
    ]
    trainer = quiet(tmp_path, fast_dev_run=3, logger=log, callbacks=monitors, auto_lr_find=True)
    model = Toy()
    assert trainer.tune(model, loader()) == {} and trainer.tuner.lr_find(model, loader()) is None
    trainer.fit(model, loader(), loader())
    assert trainer.global_step == 3 and model.hparams.lr == 0.1
    assert list(tmp_path.iterdir()) == [] and monitors[0].lrs == {}


@pytest.mark.parametrize("logger", [True, "one", "two", False], ids=str)
def test_a_trial_run_takes_what_modules_ask_of_their_logger(tmp_path, logger):
    """S218: in a fast_dev_run the module's own calls of its logger and of the checkpoint callback
    go nowhere, and break nothing; without loggers there are none then, either.
    """
    choices = {
        "one": CSVLogger(tmp_path),
        "two": [CSVLogger(tmp_path), TensorBoardLogger(tmp_path)],
    }

    class Draws(Toy):
        def training_step(self, batch, batch_idx):
            if logger is False:
                assert self.logger is None
            else:
                self.logger.experiment.add_image("x", batch[0])
                self.logger[1].experiment.add_scalar("x", 1.0, self.global_step)
                self.logger.experiment[0].add_scalar("x", 1.0, self.global_step)
                self.logger.log_metrics({"x": 1.0}, step=0)
                self.logger.log_hyperparams({"x": 1}, {"y": 2.0})
                self.logger.watch(self, log="all")
                self.logger.log_image(key="x", images=[batch[0]])
            return super().training_step(batch, batch_idx)

    trainer = Trainer(
        fast_dev_run=True, logger=choices.get(logger, logger), default_root_dir=tmp_path
    )
    trainer.fit(Draws(), loader(), loader())
    assert trainer.global_step == 1 and trainer.checkpoint_callback.best_model_path == ""
    trainer.test(dataloaders=loader())
    with pytest.raises(MisconfigurationException, match="Checkpointing is off"):
        trainer.test(dataloaders=loader(), ckpt_path="best")
    assert list(tmp_path.iterdir()) == []
