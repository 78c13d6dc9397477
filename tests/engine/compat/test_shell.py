"""Arguments from a command line: argparse for the Trainer and for data modules."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from engine import Callback, LightningDataModule, Trainer
from engine.compat.arguments import NEVER, OLD, parse
from engine.compat.arguments.typed import OldArguments
from engine.compat.commandline.argparse import FromShell
from engine.trainer.options import SHOWN
from engine.trainer.options.arguments import TrainerArguments
from tests.engine.support.toy import Toy, loader

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}


def parsed(*words: str) -> Namespace:
    return Trainer.add_argparse_args(ArgumentParser()).parse_args(list(words))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--max_epochs 3", "max_epochs", 3),
        ("--fast_dev_run True", "fast_dev_run", True),
        ("--fast_dev_run", "fast_dev_run", True),
        ("--fast_dev_run 7", "fast_dev_run", 7),
        ("--gpus 1,4", "gpus", "1,4"),
        ("--gpus 2", "gpus", 2),
        ("--gpus -1", "gpus", -1),
        ("--devices auto", "devices", "auto"),
        ("--precision bf16", "precision", "bf16"),
        ("--precision 16", "precision", 16),
        ("--limit_train_batches 0.25", "limit_train_batches", 0.25),
        ("--limit_train_batches 10", "limit_train_batches", 10),
        ("--limit_val_batches 1.0", "limit_val_batches", 1.0),
        ("--val_check_interval 1000", "val_check_interval", 1000),
        ("--accumulate_grad_batches {4:2}", "accumulate_grad_batches", {4: 2}),
        ("--gradient_clip_val 0.5", "gradient_clip_val", 0.5),
        ("--logger False", "logger", False),
        ("--checkpoint_callback False", "checkpoint_callback", False),
        ("--enable_progress_bar no", "enable_progress_bar", False),
        ("--deterministic", "deterministic", True),
        ("--deterministic warn", "deterministic", "warn"),
        ("--benchmark", "benchmark", True),
        ("--auto_scale_batch_size", "auto_scale_batch_size", True),
        ("--auto_scale_batch_size binsearch", "auto_scale_batch_size", "binsearch"),
        ("--checkpoint_callback", "checkpoint_callback", True),
        ("--weights_summary None", "weights_summary", None),
        ("--default_root_dir 2024", "default_root_dir", "2024"),
        ("--resume_from_checkpoint 7", "resume_from_checkpoint", "7"),
        ("--max_time 00:12:00:00", "max_time", "00:12:00:00"),
        ("--auto_lr_find my_lr", "auto_lr_find", "my_lr"),
        ("--tpu_cores 0", "tpu_cores", 0),
        ("--auto_lr_find TRUE", "auto_lr_find", True),
        ("--auto_lr_find t", "auto_lr_find", True),
        ("--auto_lr_find ON", "auto_lr_find", True),
        ("--auto_lr_find y", "auto_lr_find", True),
        ("--auto_lr_find=N", "auto_lr_find", False),
        ("--fast_dev_run=0", "fast_dev_run", False),
        ("--fast_dev_run=1", "fast_dev_run", True),
        ("--fast_dev_run=off", "fast_dev_run", False),
        ("--auto_scale_batch_size TRUE", "auto_scale_batch_size", True),
        ("--auto_scale_batch_size f", "auto_scale_batch_size", False),
        ("--benchmark Yes", "benchmark", True),
        ("--profiler t", "profiler", True),
        ("--checkpoint_callback 0", "checkpoint_callback", False),
        ("--logger 0", "logger", False),
        ("--sync_batchnorm F", "sync_batchnorm", False),
        ("--num_sanity_val_steps 0", "num_sanity_val_steps", 0),
        ("--devices 1", "devices", 1),
        ("--limit_val_batches 1", "limit_val_batches", 1),
    ],
)
def test_words_mean_what_one_writes_in_python(words: str, name: str, value: object) -> None:
    """S127, S191: every argument has its type, whatever other forms it may have."""
    got = getattr(parsed(*words.split()), name)
    assert (type(got), got) == (type(value), value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--max_epochs three", "a number of 0 or more"),
        ("--gpus one", "a list such as"),
        ("--enable_checkpointing maybe", "True or False"),
        ("--tpu_cores 8", "TPUs are not supported"),
    ],
)
def test_a_wrong_word_ends_the_program_with_what_to_give(
    words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """S191: as argparse does it."""
    with pytest.raises(SystemExit, match="2"):
        parsed(*words.split())
    assert why in capsys.readouterr().err


def test_every_argument_is_there() -> None:
    """S127: new names, those of 1.x, and those that are only refused; none twice, all with help."""
    parser = ArgumentParser()
    assert Trainer.add_argparse_args(parser) is parser
    names = {row.name for row in (*SHOWN, *OLD)} | {row.name for row in NEVER}
    assert names <= set(vars(parser.parse_args([])))
    text = parser.format_help()
    assert all(f"--{name}" in text for name in names)
    assert Trainer.add_argparse_args(parser) is parser  # twice does no harm
    assert Trainer.default_attributes()["log_every_n_steps"] == 50
    assert ("max_steps", (int,), -1) in Trainer.get_init_arguments_and_types()


def test_editors_and_type_checkers_know_every_argument() -> None:
    """The typed arguments are those of the tables."""
    today = [row.name for row in SHOWN]
    old = [row.name for row in (*OLD, *NEVER)]

    assert list(TrainerArguments.__annotations__) == today
    assert sorted(OldArguments.__annotations__) == sorted([*today, *old])


def test_what_programs_of_1_x_read_of_the_arguments() -> None:
    """S135, S160, S170: the namespace has the defaults of 1.x, so that a program can compute with
    them, and from_argparse_args takes them for what they are."""
    args = Trainer.add_argparse_args(ArgumentParser()).parse_args([])
    assert args.num_nodes * args.num_processes == 1
    assert (args.weights_summary, args.replace_sampler_ddp, args.gpus) == ("top", True, None)
    assert Trainer.default_attributes()["num_processes"] == 1
    assert Trainer.from_argparse_args(args, **QUIET).world_size == 1
    assert Trainer(num_processes=1, **QUIET).world_size == 1


def test_nothing_said_is_the_default() -> None:
    """S126: all the defaults together are no argument at all."""
    assert Trainer.from_argparse_args(parsed(), **QUIET)._settings == parse(QUIET)


def test_a_group_takes_the_arguments_too() -> None:
    """S127: it, or what comes back, can parse them; those of the program beside."""
    parser = ArgumentParser()
    parser.add_argument("--batch_size", type=int, default=32)
    group = parser.add_argument_group("pl.Trainer args")
    returned = Trainer.add_argparse_args(group)
    for one in (parser, returned):
        args = one.parse_args(["--max_epochs", "3", "--batch_size", "8"])
        assert (args.max_epochs, args.batch_size) == (3, 8)


def test_keys_of_the_program_are_ignored_and_overrides_count() -> None:
    """S126, S192: the namespace may hold anything; keywords are stronger than it."""

    class Mine(Callback):
        pass

    mine = Mine()
    parser = ArgumentParser()
    parser.add_argument("--hidden_dim", type=int, default=128)
    args = Trainer.add_argparse_args(parser).parse_args(["--max_epochs", "3", "--min_steps", "2"])
    trainer = Trainer.from_argparse_args(args, max_epochs=5, callbacks=[mine], **QUIET)
    assert (trainer.max_epochs, trainer.min_steps, args.hidden_dim) == (5, 2, 128)
    assert mine in trainer.callbacks
    # Texts of a flag that the program declared itself are read as those of the command line.
    assert Trainer.from_argparse_args(Namespace(max_epochs="4"), **QUIET).max_epochs == 4
    with pytest.raises(Exception, match="max_epochs='four'"):
        Trainer.from_argparse_args(Namespace(max_epochs="four"), **QUIET)


def test_defaults_of_the_program_count() -> None:
    """S193: set_defaults before or after the arguments are added; the command line is stronger."""
    parser = Trainer.add_argparse_args(ArgumentParser())
    parser.set_defaults(max_epochs=100, limit_train_batches=1)
    assert Trainer.from_argparse_args(parser.parse_args([]), **QUIET).max_epochs == 100
    args = parser.parse_args(["--max_epochs", "2"])
    trainer = Trainer.from_argparse_args(args, **QUIET)
    assert trainer.max_epochs == 2
    assert isinstance(trainer.limit_train_batches, int)  # one batch, not all


class Images(LightningDataModule):
    """A data module with arguments of several kinds."""

    def __init__(
        self,
        data_dir: str,
        batch_size: int = 32,
        share: float = 0.2,
        *,
        normalize: bool = False,
        seed: int | None = None,
        folder: Path | None = None,
        workers=4,
    ) -> None:
        super().__init__()
        self.given = (data_dir, batch_size, share, normalize, seed, folder, workers)


def test_a_data_module_has_the_same() -> None:
    """S192: by its signature and annotations, beside the Trainer's in one parser."""
    parser = Images.add_argparse_args(Trainer.add_argparse_args(ArgumentParser()))
    words = "--data_dir 12 --batch_size 8 --share 1 --normalize --seed None --workers 2"
    args = parser.parse_args(words.split())
    assert Images.from_argparse_args(args).given == ("12", 8, 1.0, True, None, None, 2)
    assert Images.from_argparse_args(args, batch_size=4).given[1] == 4
    off = parser.parse_args(["--data_dir", "x", "--normalize", "F"])
    assert Images.from_argparse_args(off).given[3] is False
    assert Trainer.from_argparse_args(args, **QUIET).max_epochs == 1000
    with pytest.raises(TypeError, match="data_dir"):
        Images.from_argparse_args(parser.parse_args([]))
    with pytest.raises(SystemExit):
        parser.parse_args(["--batch_size", "big"])
    assert issubclass(Trainer, FromShell)


# ---------------------------------------------------------------------- whole programs


def train(trainer: Trainer) -> Trainer:
    trainer.fit(Toy(), loader(), loader())
    return trainer


def main_by_hand(words: list[str], folder: Path) -> Trainer:
    parser = ArgumentParser()
    parser.add_argument("--gpus", default=None)
    hparams = parser.parse_args(words)
    return train(Trainer(gpus=hparams.gpus, fast_dev_run=True, default_root_dir=folder))


def main_with_a_group(words: list[str], folder: Path) -> Trainer:
    parser = ArgumentParser()
    parser = Trainer.add_argparse_args(parser.add_argument_group(title="pl.Trainer args"))
    args = parser.parse_args(words)
    return train(Trainer.from_argparse_args(args, default_root_dir=folder))


def main_mixed(words: list[str], folder: Path) -> Trainer:
    parser = ArgumentParser()
    parser.add_argument("--layer_1_dim", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=32)
    parser = Trainer.add_argparse_args(parser)
    hparams = parser.parse_args(words)
    assert hparams.batch_size == 4
    trainer = Trainer.from_argparse_args(hparams, default_root_dir=folder)
    batches = loader(size=hparams.batch_size)
    trainer.fit(Toy(width=hparams.layer_1_dim), batches, batches)
    return trainer


def test_the_three_mains_of_the_tutorial_run(tmp_path: Path) -> None:
    """S190, S267: a flag by hand, all arguments in a group, and own arguments beside them."""
    assert main_by_hand([], tmp_path).global_step == 1
    assert main_by_hand(["--gpus", "0"], tmp_path).strategy.root_device.type == "cpu"
    words = "--max_epochs 1 --limit_train_batches 2 --logger False --checkpoint_callback False"
    assert main_with_a_group(words.split(), tmp_path).global_step == 2
    words += " --batch_size 4 --progress_bar_refresh_rate 0 --weights_summary None"
    assert main_mixed(words.split(), tmp_path).global_step == 2
