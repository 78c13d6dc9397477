"""The code blocks of the tutorial that shows 1.5 with CIFAR10 and T5."""

from __future__ import annotations

import inspect
import json
from argparse import Namespace

import pytest
import torch
from torch.utils.data import DataLoader

from tests.seeds.repairs import Repair

SKELETON = """
class CIFARModule(pl.LightningModul):
    def __init__(self):
        super().__init__()

    def forword(self, imgs):

    def configure_optimizers(self):

    def training_step(self, batch, batch_idx):

    def validation_step(self, batch, batch_idx):

    def test_step(self, batch, batch_idx):
"""
REPAIRS = (
    Repair("pl.LightningModul)", "pl.LightningModule)", "a letter is missing"),
    Repair("forword", "forward", "a typo"),
    Repair("imgs):\n", "imgs):\n        pass\n", "an empty body"),
    Repair("optimizers(self):\n", "optimizers(self):\n        pass\n", "an empty body"),
    Repair("batch_idx):\n", "batch_idx):\n        pass\n", "three empty bodies"),
)
ARGS = Namespace(
    data_dir="data",
    checkpoint_path="saved",
    batch_size=10,
    val_size=20,
    num_classes=10,
    optimizer="adam",
    schedule="step",
    lr=0.05,
    max_epochs=4,
    progress_bar_refresh_rate=0,
    weights_summary=None,
    log_every_n_steps=1,
    something_of_the_users="is no business of the Trainer",
)


@pytest.fixture
def block(old):
    return old("old_000")


def args(**changes):
    return Namespace(**{**vars(ARGS), **changes})


def test_skeleton(run_block):
    """S252, C10: as printed it does not compile; with `pass` in its bodies it is a module whose
    names are the engine's."""
    with pytest.raises(SyntaxError):
        run_block(SKELETON)
    import pytorch_lightning as pl

    module = run_block(SKELETON, REPAIRS, pl=pl)["CIFARModule"]()

    assert inspect.getmodule(type(module).__mro__[1]).__name__.startswith("engine.")
    assert module.forward(None) is module.training_step(None, 0) is None


def test_the_mistakes_are_all_needed(run_block):
    """C10: without any one of the repairs the block can't be used."""
    import pytorch_lightning as pl

    for left_out in REPAIRS:
        some = tuple(each for each in REPAIRS if each is not left_out)
        with pytest.raises((SyntaxError, AttributeError, NotImplementedError)):
            run_block(SKELETON, some, pl=pl)["CIFARModule"]()(None)


def test_fit_and_test(block, tmp_path):
    """S253: fit, then test of the model as it is, with the rate of every step on record."""
    loaders = block.get_data_loader(ARGS)
    trainer, results = block.fit_and_test(block.CIFARModule(ARGS), *loaders)

    assert 0.0 <= results[0]["test_acc"] <= 1.0
    assert trainer.global_step == 8
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(trainer.logger.log_dir)
    events.Reload()
    assert len(events.Scalars("lr-AdamW")) == 8


def test_data_loaders(block):
    """S254: one file of images, split into two without overlap, and a test set."""
    train, val, test = block.get_data_loader(ARGS)

    assert [len(loader.dataset) for loader in (train, val, test)] == [40, 20, 60]
    assert not set(train.dataset.indices) & set(val.dataset.indices)
    images, labels = next(iter(train))
    assert (images.shape, images.dtype, labels.shape) == ((10, 3, 32, 32), torch.float32, (10,))
    assert next(iter(val))[0].abs().mean() < 2  # normalised


@pytest.mark.parametrize("optimizer, schedule", [("sgd", "milestones"), ("adam", "step")])
def test_resnet(block, optimizer, schedule):
    """S255: ResNet50 in a module takes two steps on images of 32x32, whatever the size of its
    example input; the summary shows that size."""
    import pytorch_lightning as pl

    module = block.CIFARModule(args(optimizer=optimizer, schedule=schedule))
    before = module.model.model.fc.weight.clone()
    trainer = pl.Trainer(max_steps=2, progress_bar_refresh_rate=0, logger=False)
    trainer.fit(module, *block.get_data_loader(ARGS)[:2])

    assert trainer.global_step == 2
    assert not torch.equal(before, module.model.model.fc.weight)
    assert module.hparams.args.optimizer == optimizer


def test_nothing_to_optimize_with(block):
    """S255: a name that no branch knows leaves `configure_optimizers` at None: fit says so, and
    changes nothing."""
    import pytorch_lightning as pl

    module = block.CIFARModule(args(optimizer="other"))
    before = module.model.model.fc.weight.clone()
    trainer = pl.Trainer(max_steps=2, progress_bar_refresh_rate=0, logger=False, max_epochs=1)
    with pytest.warns(UserWarning, match="optimizer"):
        trainer.fit(module, *block.get_data_loader(ARGS)[:2])

    assert torch.equal(before, module.model.model.fc.weight)


def test_train_model(block, tmp_path):
    """S256: the three best weights of four epochs by name, the best of them loaded and tested
    twice, silently; a dict of both accuracies comes back."""
    train, val, test = block.get_data_loader(ARGS)
    model, result, trainer = block.train_model(ARGS, train, val, test)

    kept = sorted(path.name for path in (tmp_path / "saved/cifar10").iterdir())
    assert len(kept) == 3
    assert set(result) == {"val", "test"}
    best = max(float(name.partition("val_acc=")[2].removesuffix(".ckpt")) for name in kept)
    assert result["val"] == pytest.approx(best, abs=1e-4)
    assert trainer.checkpoint_callback.best_model_score == pytest.approx(result["val"])
    assert model.hparams.args.lr == 0.05
    content = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert "optimizer_states" not in content


class FakeT5(torch.nn.Module):
    """What `generate` says is its input backwards."""

    def generate(self, input_ids, attention_mask, max_length):
        assert attention_mask.shape == input_ids.shape
        return input_ids.flip(1)[:, :max_length]


class FakeTokenizer:
    def batch_decode(self, numbers, skip_special_tokens):
        assert skip_special_tokens
        return ["".join(chr(number) for number in row if number) for row in numbers.tolist()]


def test_t5_writes_its_predictions(block, tmp_path):
    """S257: `on_predict_batch_end` gets what `predict_step` returned and writes a line a sample."""
    import pytorch_lightning as pl

    words = ["ab\N{GREEK SMALL LETTER MU}", "cde", "fgh", "ijk", "lmn"]
    numbers = torch.tensor([[ord(letter) for letter in word] for word in words])
    data = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in numbers]
    model = block.T5Module(FakeT5(), FakeTokenizer(), tmp_path / "said.jsonl")
    trainer = pl.Trainer(logger=False, progress_bar_refresh_rate=0)
    returned = trainer.predict(model, DataLoader(data, batch_size=2))

    lines = (tmp_path / "said.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == [{"source": word, "prediction": word[::-1]} for word in words]
    assert "\N{GREEK SMALL LETTER MU}" in lines[0]
    assert [row for batch in returned for row in batch["source"]] == words
