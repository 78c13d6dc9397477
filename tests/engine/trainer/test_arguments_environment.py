"""The Trainer's arguments from the environment."""

from __future__ import annotations

import pytest

from engine import Trainer
from engine.compat.commandline.arguments import parse_env_variables
from engine.runtime.errors import MisconfigurationException
from tests.engine.support.toy import Toy, loader, quiet


@pytest.mark.filterwarnings("ignore:there is a validation_step")
def test_the_environment_gives_what_the_program_does_not(tmp_path, monkeypatch, capsys):
    """S135: as in 1.x, read as on a command line; what the program says is stronger, and a line
    tells of what is not in the program."""
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "2")
    monkeypatch.setenv("PL_TRAINER_ACCUMULATE_GRAD_BATCHES", "{0: 2}")
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    trainer = quiet(tmp_path, max_epochs=1)
    trainer.fit(Toy(), loader())
    assert (trainer.max_epochs, trainer.limit_train_batches) == (1, 2)
    assert trainer.global_step == 1
    shown = capsys.readouterr().err
    assert "PL_TRAINER_LIMIT_TRAIN_BATCHES in the environment counts" in shown
    assert "Trainer(limit_train_batches=2)" in shown
    assert "MAX_EPOCHS" not in shown
    values = parse_env_variables(Trainer)
    assert (values.max_epochs, values.limit_train_batches) == (7, 2)


@pytest.mark.parametrize(
    ("word", "text", "told"),
    [
        ("PL_TRAINER_MAX_EPOCH", "3", "did you mean PL_TRAINER_MAX_EPOCHS"),
        ("PL_TRAINER_LIMIT_VAL_BATCHES", "some", "PL_TRAINER_LIMIT_VAL_BATCHES=some"),
        ("PL_TRAINER_TPU_CORES", "8", "PL_TRAINER_TPU_CORES=8"),
    ],
)
def test_a_wrong_word_is_named(monkeypatch, word, text, told):
    """A misspelt name, a wrong value and what is not supported are errors, not silence."""
    monkeypatch.setenv(word, text)
    with pytest.raises(MisconfigurationException, match=told):
        Trainer()
