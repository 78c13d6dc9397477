"""The Trainer's arguments: the table, the spellings of 1.x, and what is refused."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace

import numpy
import pytest
import torch

from engine import Callback, MisconfigurationException, Trainer
from engine.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from engine.compat.arguments import NEVER, OLD, parse
from engine.runtime.settings import (
    DataSettings,
    FitSettings,
    HardwareSettings,
    OutputSettings,
    TuneSettings,
)
from engine.trainer.options import OPTIONS, SHOWN
from tests.engine.support.toy import Toy, loader, quiet


def test_each_argument_is_in_one_setting():
    """The table and the settings are the same list."""
    kinds = (FitSettings, DataSettings, HardwareSettings, OutputSettings, TuneSettings)
    names = [field.name for kind in kinds for field in fields(kind)]
    assert sorted(names) == sorted(option.name for option in OPTIONS)


def test_the_signature_shows_the_table():
    """help(Trainer) and editors see names and defaults."""
    parameters = inspect.signature(Trainer.__init__).parameters
    assert parameters["max_epochs"].default is None
    assert parameters["log_every_n_steps"].default == 50
    assert "accumulate_grad_batches: batches a step" in Trainer.__init__.__doc__


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("max_epoch", "max_epochs"),
        ("gpu", "gpus"),
        ("callback", "callbacks"),
        ("epochs", "max_epochs"),
        ("resume", "resume_from_checkpoint"),
        ("train_percent_check", "limit_train_batches"),
        ("learning_rate", None),
    ],
)
def test_an_unknown_argument_names_the_nearest(wrong, hint):
    """S188: a typo is no silent default."""
    with pytest.raises(TypeError, match=wrong) as error:
        Trainer(**{wrong: 1})
    assert (f"did you mean '{hint}'" in str(error.value)) == (hint is not None)


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        ({"tpu_cores": 8}, "TPUs are not supported; use accelerator='gpu'"),
        ({"ipus": 1}, "IPUs are not supported; use accelerator='gpu'"),
        ({"hpus": 1}, "HPUs are not supported; use accelerator='gpu'"),
        ({"amp_backend": "apex"}, "'native', torch's own mixed precision: Apex is not supported"),
        ({"amp_level": "O3"}, "precision=16, 'bf16' or 32 in its place"),
        ({"automatic_optimization": False}, "self.automatic_optimization = False"),
        ({"early_stop_callback": True}, "callbacks=[EarlyStopping('val_loss')]"),
        ({"model_registry": "m"}, "best_model_path"),
        ({"devices": 0}, "accelerator='cpu'"),
        ({"logger": "csv"}, "a logger of engine.loggers"),
    ],
    ids=str,
)
def test_what_never_comes_says_what_to_use_instead(arguments, instead):
    """S138, S175, S176: refused, not ignored."""
    (name,) = arguments
    with pytest.raises(MisconfigurationException, match=f"{name}=") as error:
        parse(arguments)
    assert instead in str(error.value)


def test_none_is_the_default():
    """C5: it was that of many arguments in one version or another; two mean something by it."""
    own = ("check_val_every_n_epoch", "weights_summary")
    rows = [row.name for row in (*SHOWN, *OLD, *NEVER) if row.name not in own]
    assert parse(dict.fromkeys(rows)) == parse({})


@pytest.mark.parametrize("word", ["tpu", "ipu", "hpu", "horovod"])
def test_an_accelerator_that_never_comes_says_what_to_use_instead(word):
    """S157, S177: the word is in the message, whichever argument it was given to."""
    for argument in ("accelerator", "distributed_backend", "strategy"):
        with pytest.raises(MisconfigurationException, match=rf"{word}.*'(cpu|ddp)'"):
            Trainer(**{argument: word})


# Every argument of the tutorial, with the default that it has there.
TUTORIAL = dict(
    logger=True,
    checkpoint_callback=True,
    callbacks=None,
    default_root_dir=None,
    gradient_clip_val=0,
    process_position=0,
    num_nodes=1,
    num_processes=1,
    gpus=None,
    auto_select_gpus=False,
    tpu_cores=None,
    log_gpu_memory=None,
    progress_bar_refresh_rate=None,
    overfit_batches=0.0,
    track_grad_norm=-1,
    check_val_every_n_epoch=1,
    fast_dev_run=False,
    accumulate_grad_batches=1,
    max_epochs=None,
    min_epochs=None,
    max_steps=None,
    min_steps=None,
    limit_train_batches=1.0,
    limit_val_batches=1.0,
    limit_test_batches=1.0,
    limit_predict_batches=1.0,
    val_check_interval=1.0,
    flush_logs_every_n_steps=100,
    log_every_n_steps=50,
    accelerator=None,
    sync_batchnorm=False,
    precision=32,
    weights_summary="top",
    weights_save_path=None,
    num_sanity_val_steps=2,
    truncated_bptt_steps=None,
    resume_from_checkpoint=None,
    profiler=None,
    benchmark=False,
    deterministic=False,
    reload_dataloaders_every_epoch=False,
    auto_lr_find=False,
    replace_sampler_ddp=True,
    terminate_on_nan=False,
    auto_scale_batch_size=False,
    prepare_data_per_node=True,
    plugins=None,
    amp_backend="native",
    amp_level="O2",
    distributed_backend=None,
    move_metrics_to_cpu=False,
    multiple_trainloader_mode="max_size_cycle",
    stochastic_weight_avg=False,
)
# What came after it, to 2.x.
LATER = dict(
    enable_checkpointing=True,
    gradient_clip_algorithm=None,
    devices=None,
    strategy=None,
    max_time=None,
    enable_progress_bar=True,
    enable_model_summary=True,
    detect_anomaly=False,
    reload_dataloaders_every_n_epochs=0,
    ipus=None,
    hpus=None,
    inference_mode=True,
    use_distributed_sampler=True,
    barebones=False,
    model_registry=None,
    enable_autolog_hparams=True,
)


def test_all_defaults_together_are_no_argument_at_all():
    """S138, S174-S176, C5: the 53 arguments of the tutorial, those that came with later versions,
    and both together; 1.x's names stay."""
    assert len(TUTORIAL) == 53
    plain = parse({})
    plain = replace(plain, hardware=replace(plain.hardware, benchmark=False, amp_level="O2"))
    plain = replace(plain, fit=replace(plain.fit, gradient_clip_val=0.0))
    plain = replace(plain, output=replace(plain.output, flush_logs_every_n_steps=100))
    assert parse({**TUTORIAL, **LATER}) == parse(TUTORIAL) == plain
    assert parse(LATER) == parse({})


GPU = {"accelerator": "gpu"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"num_processes": 2}, {"accelerator": "cpu", "devices": 2}),
        ({"gpus": 2}, {"accelerator": "gpu", "devices": 2}),
        ({"gpus": None}, {}),
        ({"gpus": 0}, {"accelerator": "cpu"}),
        ({"gpus": "0", "accelerator": "auto"}, {"accelerator": "cpu"}),
        ({"gpus": [], "accelerator": "ddp"}, {"accelerator": "cpu", "strategy": "ddp"}),
        ({"gpus": 2, "accelerator": "GPU"}, {"accelerator": "gpu", "devices": 2}),
        ({"distributed_backend": "ddp", "accelerator": "gpu"}, {"strategy": "ddp"} | GPU),
        ({"distributed_backend": "ddp_cpu"}, {"strategy": "ddp", "accelerator": "cpu"}),
        ({"distributed_backend": "ddp_sharded"}, {"strategy": "ddp_sharded"}),
        ({"accelerator": "deepspeed_stage_2"}, {"strategy": "deepspeed_stage_2"}),
        ({"gpus": "auto"}, {"accelerator": "gpu", "devices": -1}),
        (
            {"gpus": "1, 4", "num_nodes": 4},
            {"accelerator": "gpu", "devices": "1, 4", "num_nodes": 4},
        ),
        (
            {"accelerator": "ddp", "gpus": 2},
            {"strategy": "ddp", "accelerator": "gpu", "devices": 2},
        ),
        ({"accelerator": "auto", "gpus": 2}, {"accelerator": "gpu", "devices": 2}),
        ({"accelerator": "ddp_cpu"}, {"strategy": "ddp", "accelerator": "cpu"}),
        ({"distributed_backend": "ddp"}, {"strategy": "ddp"}),
        ({"accelerator": "DDP", "gpus": 1}, {"strategy": "ddp", "gpus": 1}),
        ({"accelerator": "GPU", "strategy": "DDP"}, {"accelerator": "gpu", "strategy": "ddp"}),
        ({"checkpoint_callback": False}, {"enable_checkpointing": False}),
        ({"progress_bar_refresh_rate": 0}, {"enable_progress_bar": False}),
        ({"weights_summary": None}, {"enable_model_summary": False}),
        ({"profiler": True}, {"profiler": "simple"}),
        (
            {"weights_summary": "top", "enable_model_summary": False},
            {"enable_model_summary": False},
        ),
        ({"max_steps": 1e5, "max_epochs": 1e3}, {"max_steps": 100000, "max_epochs": 1000}),
        ({"replace_sampler_ddp": False}, {"use_distributed_sampler": False}),
        ({"max_steps": None}, {"max_steps": -1}),
        ({"gradient_clip_val": 0}, {"gradient_clip_val": 0.0}),
        ({"precision": 16}, {"precision": "16-mixed"}),
        ({"max_epochs": numpy.int64(3)}, {"max_epochs": 3}),
        ({"limit_val_batches": torch.tensor(0.5)}, {"limit_val_batches": 0.5}),
    ],
    ids=str,
)
def test_old_spellings_mean_the_new_ones(old, new):
    """S129, S135, S136, S160, S165, S177, C5: the settings are the same."""
    assert parse(old) == parse(new)


@pytest.mark.parametrize(
    "arguments",
    [
        {"gpus": 2, "accelerator": "cpu"},
        {"gpus": 0, "accelerator": "gpu"},
        {"gpus": 2, "devices": 3},
        {"resume_from_checkpoint": "a", "checkpoint_callback": True, "enable_checkpointing": False},
        {"replace_sampler_ddp": False, "use_distributed_sampler": True},
    ],
    ids=str,
)
def test_words_that_contradict_each_other_are_refused(arguments):
    """C5: an old word and a new one for two different things."""
    with pytest.raises(MisconfigurationException, match=r"give one of them|leave out one"):
        parse(arguments)


def test_what_old_spellings_carry():
    """S129, S164: a refresh rate, a depth, a checkpoint, a callback in the place of a switch."""
    callback = ModelCheckpoint()
    output = parse(
        {
            "progress_bar_refresh_rate": 20,
            "weights_summary": "full",
            "resume_from_checkpoint": "a.ckpt",
            "checkpoint_callback": callback,
        }
    ).output
    assert (output.refresh_rate, output.summary_depth, output.ckpt_path) == (20, -1, "a.ckpt")
    assert output.callbacks == [callback]


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_epochs": -2},
        {"limit_train_batches": 1.5},
        {"limit_val_batches": -1},
        {"accumulate_grad_batches": 0},
        {"val_check_interval": 0},
        {"val_check_interval": 1.5},
        {"precision": 8},
        {"gradient_clip_algorithm": "both"},
        {"num_nodes": "many"},
        {"num_nodes": 0},
        {"gradient_clip_val": True},
        {"max_steps": -5},
        {"max_steps": 1.5},
        {"default_root_dir": "s3://bucket/runs"},
        {"deterministic": "always"},
        {"benchmark": "yes"},
        {"checkpoint_callback": "best"},
        {"enable_checkpointing": "yes"},
    ],
    ids=str,
)
def test_a_wrong_value_is_named_with_what_to_give(arguments):
    """The message has the argument's name and its meaning."""
    (name,) = arguments
    with pytest.raises((MisconfigurationException, ValueError), match=name):
        parse(arguments)


def test_fast_dev_run_is_short():
    """A few batches of everything, whatever else was given."""
    settings = parse({"fast_dev_run": 7, "max_epochs": 100, "max_time": "00:00:00:01"})
    assert settings.data.limit_train_batches == settings.data.limit_predict_batches == 7
    assert (settings.fit.max_epochs, settings.fit.max_steps) == (1, 7)
    assert settings.fit.max_time is None


def test_how_long_without_a_word(tmp_path):
    """1000 epochs as in 1.x, but not if a number of steps was given."""
    assert parse({}).fit.max_epochs == 1000
    assert parse({"max_steps": 5}).fit.max_epochs is None
    assert parse({"max_epochs": -1}).fit.max_epochs == -1


# ---------------------------------------------------------------------- callbacks


def names(trainer):
    return [type(callback).__name__ for callback in trainer.callbacks]


def test_the_callbacks_that_are_there_by_default():
    """A checkpoint, a bar and a summary, each unless it is switched off or there already."""
    assert names(Trainer()) == ["ProgressBar", "ModelSummary", "ModelCheckpoint"]
    switched = Trainer(
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    assert names(switched) == []
    mine = [ModelCheckpoint(monitor="x"), EarlyStopping("x"), LearningRateMonitor()]
    given = Trainer(callbacks=mine, enable_progress_bar=False, enable_model_summary=False)
    assert names(given) == ["EarlyStopping", "LearningRateMonitor", "ModelCheckpoint"]
    assert given.checkpoint_callback is mine[0]
    assert given.early_stopping_callback is mine[1]


def test_one_callback_needs_no_list_and_others_are_refused():
    """S130: callbacks= takes a Callback or several."""

    class Mine(Callback):
        pass

    assert "Mine" in names(Trainer(callbacks=Mine()))
    with pytest.raises(MisconfigurationException, match="no Callback"):
        Trainer(callbacks=[print])
    with pytest.raises(MisconfigurationException, match="leave out one"):
        Trainer(callbacks=ModelCheckpoint(), enable_checkpointing=False)


# ---------------------------------------------------------------------- what a trainer shows


def test_a_trainer_shows_its_arguments(tmp_path):
    """C5: each under its own name, and what else 1.x showed; what made something is not set."""
    trainer = Trainer(max_time={"hours": 1}, overfit_batches=3, terminate_on_nan=True)
    missing = [row.name for row in SHOWN if not hasattr(trainer, row.name)]
    assert not missing
    assert (trainer.max_time.seconds, trainer.overfit_batches) == (3600, 3)
    assert trainer.terminate_on_nan and trainer.num_sanity_val_steps == 2
    with pytest.raises(AttributeError):
        trainer.terminate_on_nan = False
    assert (trainer.gpus, trainer.num_gpus, trainer.root_gpu, trainer.accelerator) == (
        None,
        0,
        None,
        "cpu",
    )
    assert (trainer.num_processes, trainer.device_ids) == (1, [0])
    assert (trainer.data_parallel, trainer.distributed_backend) == (False, None)
    seen = []

    class Watch(Toy):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

        def training_step(self, batch, batch_idx):
            trainer = self.trainer
            assert trainer.get_model() is self and trainer.batch_idx == batch_idx
            assert trainer.enable_validation and not trainer.evaluating
            self.log("loss", loss := self.loss(batch), prog_bar=True)
            (scheduler,) = trainer.lr_schedulers
            seen.append((trainer.total_batch_idx, scheduler["interval"], scheduler["frequency"]))
            return loss

        def on_train_batch_end(self, outputs, batch, batch_idx):
            assert isinstance(self.trainer.progress_bar_dict["loss"], float)

        def validation_step(self, batch, batch_idx):
            assert self.trainer.evaluating and isinstance(self.trainer.running_sanity_check, bool)

    trainer = quiet(tmp_path, max_epochs=2, limit_train_batches=2)
    trainer.fit(Watch(), loader(), loader())
    assert seen == [(n, "step", 1) for n in range(4)]
    assert trainer.optimizer_frequencies == []
