"""LightningDataModule: where the data comes from, apart from the model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from engine.module.hyperparameters.hparams import KeepsHyperparameters
from engine.runtime.errors import MisconfigurationException

if TYPE_CHECKING:
    from typing_extensions import Self


class LightningDataModule(KeepsHyperparameters):
    """Prepares data and makes loaders; every method may be left out.

    `prepare_data` runs in one process of each node (download, tokenise; no attributes set), `setup`
    in every process, with stage fit, validate, test or predict.
    """

    trainer: Any = None
    prepare_data_per_node = True  # False: in one process of all nodes

    def prepare_data(self) -> None:
        """Download and prepare, once a node."""

    def setup(self, stage: str | None = None) -> None:
        """Make datasets, in every process.

        Args:
            stage: What begins: fit, validate, test or predict.
        """

    def teardown(self, stage: str | None = None) -> None:
        """Clean up, in every process.

        Args:
            stage: What has ended: fit, validate, test or predict.
        """

    def train_dataloader(self) -> Any:
        """The loader to train on."""

    def val_dataloader(self) -> Any:
        """One or several loaders to validate on."""

    def test_dataloader(self) -> Any:
        """One or several loaders to test on."""

    def predict_dataloader(self) -> Any:
        """One or several loaders to predict on."""

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it goes to the device.

        Args:
            batch: What the loader made.
            dataloader_idx: The number of the loader, 0 where there is one.

        Returns:
            The batch to go on with.
        """
        return batch

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch to the device.

        Args:
            batch: Tensors, alone or in lists, tuples, dicts and dataclasses.
            device: The `torch.device` of this process.
            dataloader_idx: The number of the loader, 0 where there is one.

        Returns:
            The batch with its tensors on the device.
        """
        from engine.runtime.data.samplers import move

        return move(batch, device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device."""
        return batch

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Any = None,
        val_dataset: Any = None,
        test_dataset: Any = None,
        predict_dataset: Any = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> LightningDataModule:
        """A data module of datasets; training data is shuffled.

        Args:
            train_dataset: What to train on: a dataset, several in a list, or by name in a dict.
            val_dataset: What to validate on, in the same forms; None for no validation.
            test_dataset: What to test on.
            predict_dataset: What to predict on.
            batch_size: Samples a batch, of each loader.
            num_workers: Processes that read, of each loader; 0 reads in the process itself.
            **kwargs: Arguments of the class itself.
        """
        from engine.runtime.data.samplers import loaders_of

        module = cls(**kwargs)
        given = {"train": train_dataset, "val": val_dataset, "test": test_dataset}
        for kind, data in {**given, "predict": predict_dataset}.items():
            if data is not None:
                made = partial(loaders_of, data, batch_size, num_workers, kind == "train")
                setattr(module, f"{kind}_dataloader", made)
        return module

    @classmethod
    def load_from_checkpoint(
        cls,
        checkpoint_path: Any,
        map_location: Any = None,
        weights_only: bool = True,
        **kwargs: Any,
    ) -> Self:
        """A data module with the hyper-parameters and the state that a checkpoint holds.

        Args:
            checkpoint_path: The file's path, or the open file.
            map_location: Where tensors go: a device, or as in `torch.load`.
            weights_only: Read plain data and tensors alone. False reads any object, which can run
                code of whoever wrote the file.
            **kwargs: Hyper-parameters that count in place of those in the file.

        Raises:
            CheckpointError: There is no such file, it is damaged, or holds more than plain data.
        """
        from engine.module.hyperparameters.loading import datamodule_from_checkpoint

        module: Self = datamodule_from_checkpoint(
            cls, checkpoint_path, map_location, weights_only, kwargs
        )
        return module

    def state_dict(self) -> dict[str, Any]:
        """Plain data to be kept in checkpoints."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint."""

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See a checkpoint that is being loaded."""


def given_loader(trainer: Any, kind: str) -> Any:
    """What a trainer's verb was given to run on, or its data module's loader."""
    given = trainer.given_loaders.get(kind)
    if given is not None or trainer.datamodule is None:
        return given
    return getattr(trainer.datamodule, f"{kind}_dataloader")()


def sorted_out(loaders: Any, datamodule: Any) -> tuple[Any, Any]:
    """A data module may come in the place of loaders."""
    if isinstance(loaders, LightningDataModule):
        if datamodule is not None:
            raise MisconfigurationException("two data modules were given: one is taken, which?")
        return None, loaders
    if datamodule is not None and not hasattr(datamodule, "setup"):
        raise MisconfigurationException(
            f"datamodule={type(datamodule).__name__}(...): this is no LightningDataModule; loaders "
            "come first: fit(model, train_loader, val_loader)"
        )
    return loaders, datamodule
