"""LightningDataModule: where the data comes from, apart from the model."""

from __future__ import annotations

from typing import Any

from engine.hparams import KeepsHyperparameters
from engine.shell import FromShell


class LightningDataModule(KeepsHyperparameters, FromShell):
    """Prepares data and makes loaders; every method may be left out.

    `prepare_data` runs in one process of each node (download, tokenise; no attributes set), `setup`
    in every process, with stage fit, validate, test or predict.
    """

    trainer: Any = None

    def __init__(
        self,
        train_transforms: Any = None,
        val_transforms: Any = None,
        test_transforms: Any = None,
        dims: Any = None,
    ) -> None:
        self.train_transforms = train_transforms
        self.val_transforms = val_transforms
        self.test_transforms = test_transforms
        self.dims = dims if dims is not None else ()

    def size(self, dim: int | None = None) -> Any:
        """The shape of one sample, `dims`, or one dimension of it."""
        return self.dims if dim is None else self.dims[dim]

    def prepare_data(self) -> None:
        """Download and prepare, once a node."""

    def setup(self, stage: str | None = None) -> None:
        """Make datasets, in every process."""

    def teardown(self, stage: str | None = None) -> None:
        """Clean up, in every process."""

    def train_dataloader(self) -> Any:
        """The loader to train on."""

    def val_dataloader(self) -> Any:
        """One or several loaders to validate on."""

    def test_dataloader(self) -> Any:
        """One or several loaders to test on."""

    def predict_dataloader(self) -> Any:
        """One or several loaders to predict on."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it goes to the device."""
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to the device."""
        from engine.data import move

        return move(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Plain data to be kept in checkpoints."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See a checkpoint that is being loaded."""
