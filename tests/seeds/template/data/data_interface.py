"""One data module for all datasets: the class is chosen by name."""

import importlib
import inspect

import pytorch_lightning as pl
from torch.utils.data import DataLoader


class DInterface(pl.LightningDataModule):
    def __init__(self, num_workers=0, dataset="", **kwargs):
        super().__init__()
        self.num_workers = num_workers
        self.dataset = dataset
        self.kwargs = kwargs
        self.batch_size = kwargs["batch_size"]
        self.load_data_module()

    def setup(self, stage=None):
        if stage == "fit" or stage is None:
            self.trainset = self.instancialize(train=True)
            self.valset = self.instancialize(train=False)
        if stage == "test" or stage is None:
            self.testset = self.instancialize(train=False)

    def train_dataloader(self):
        return DataLoader(self.trainset, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.valset, batch_size=self.batch_size, shuffle=False)

    def test_dataloader(self):
        return DataLoader(self.testset, batch_size=self.batch_size, shuffle=False)

    def load_data_module(self):
        name = self.dataset
        camel_name = "".join([part.capitalize() for part in name.split("_")])
        try:
            module = importlib.import_module("." + name, package=__package__)
            self.data_module = getattr(module, camel_name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"Invalid dataset file or class: data.{name}.{camel_name}") from error

    def instancialize(self, **other_args):
        class_args = inspect.getfullargspec(self.data_module.__init__).args[1:]
        args = {name: self.kwargs[name] for name in class_args if name in self.kwargs}
        args.update(other_args)
        return self.data_module(**args)
