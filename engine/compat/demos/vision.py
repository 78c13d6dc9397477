"""Models and data of torchvision, as the examples of 2.x take them."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch.utils.data import DataLoader, random_split

from engine import LightningDataModule
from engine.runtime.errors import MisconfigurationException

VALIDATED = 5000  # of the images to train on


def get_torchvision_model(model_name: str, **kwargs: Any) -> Any:
    """A model of torchvision's by its name."""
    models: Any = _torchvision("models")
    return models.get_model(model_name, **kwargs)


def MNIST(root: str = "./data", **kwargs: Any) -> Any:
    """The digits, by torchvision; `download=True` fetches them."""
    datasets: Any = _torchvision("datasets")
    return datasets.MNIST(root, **kwargs)


class MNISTDataModule(LightningDataModule):
    """The digits in three parts: to train, validate and test on."""

    name = "mnist"
    num_classes = 10

    def __init__(
        self,
        data_dir: str = "./data",
        val_split: int = VALIDATED,
        num_workers: int = 16,
        normalize: bool = False,
        seed: int = 42,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.data_dir, self.val_split, self.num_workers = data_dir, val_split, num_workers
        self.normalize, self.seed, self.batch_size = normalize, seed, batch_size

    def prepare_data(self) -> None:
        """Fetch them."""
        for train in (True, False):
            MNIST(self.data_dir, train=train, download=True)

    def setup(self, stage: str | None = None) -> None:
        """Divide them."""
        whole = MNIST(self.data_dir, train=True, transform=self.default_transforms)
        sizes = [len(whole) - self.val_split, self.val_split]
        generator = torch.Generator().manual_seed(self.seed)
        self.dataset_train, self.dataset_val = random_split(whole, sizes, generator)

    def train_dataloader(self) -> Any:
        """Those to train on."""
        return self._loader(self.dataset_train, shuffle=True)

    def val_dataloader(self) -> Any:
        """Those to validate on."""
        return self._loader(self.dataset_val)

    def test_dataloader(self) -> Any:
        """Those to test on."""
        digits = MNIST(self.data_dir, train=False, transform=self.default_transforms)
        return self._loader(digits)

    @property
    def default_transforms(self) -> Any:
        """From pictures to tensors."""
        transforms: Any = _torchvision("transforms")
        to_tensor = transforms.ToTensor()
        if not self.normalize:
            return to_tensor
        return transforms.Compose([to_tensor, transforms.Normalize(mean=(0.5,), std=(0.5,))])

    def _loader(self, dataset: Any, shuffle: bool = False) -> Any:
        options: dict[str, Any] = {"num_workers": self.num_workers, "drop_last": True}
        return DataLoader(dataset, batch_size=self.batch_size, shuffle=shuffle, **options)


def _torchvision(name: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(f"torchvision.{name}")
    except ImportError as error:
        raise MisconfigurationException(
            f"torchvision.{name} can't be imported ({error}): install torchvision"
        ) from error
