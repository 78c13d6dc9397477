"""One module for all networks: class and loss are chosen by name."""

import importlib
import inspect

import pytorch_lightning as pl
import torch
import torch.optim.lr_scheduler as lrs
from torch.nn import functional as F


class MInterface(pl.LightningModule):
    def __init__(self, model_name, loss, lr, **kargs):
        super().__init__()
        self.save_hyperparameters()
        self.load_model()
        self.configure_loss()

    def forward(self, img):
        return self.model(img)

    def training_step(self, batch, batch_idx):
        img, labels, _ = batch
        loss = self.loss_function(self(img), labels)
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        img, labels, filename = batch
        out = self(img)
        right = ((out > 0).float() == labels).float()
        self.log("val_loss", self.loss_function(out, labels), on_step=False, on_epoch=True)
        self.log("val_acc", right.mean(), on_step=False, on_epoch=True, prog_bar=True)
        return right.sum(), len(filename)

    def test_step(self, batch, batch_idx):
        return self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self):
        self.print("")

    def configure_optimizers(self):
        weight_decay = getattr(self.hparams, "weight_decay", 0)
        optimizer = torch.optim.Adam(
            self.parameters(), lr=self.hparams.lr, weight_decay=weight_decay
        )
        if self.hparams.lr_scheduler is None:
            return optimizer
        if self.hparams.lr_scheduler == "step":
            scheduler = lrs.StepLR(
                optimizer,
                step_size=self.hparams.lr_decay_steps,
                gamma=self.hparams.lr_decay_rate,
            )
        elif self.hparams.lr_scheduler == "cosine":
            scheduler = lrs.CosineAnnealingLR(optimizer, T_max=self.hparams.lr_decay_steps)
        else:
            raise ValueError("Invalid lr_scheduler type!")
        return [optimizer], [scheduler]

    def configure_loss(self):
        loss = self.hparams.loss.lower()
        if loss == "mse":
            self.loss_function = F.mse_loss
        elif loss == "bce":
            self.loss_function = F.binary_cross_entropy_with_logits
        else:
            raise ValueError("Invalid Loss Type!")

    def load_model(self):
        name = self.hparams.model_name
        camel_name = "".join([part.capitalize() for part in name.split("_")])
        try:
            module = importlib.import_module("." + name, package=__package__)
            model = getattr(module, camel_name)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"Invalid module file or class: {name}.{camel_name}") from error
        self.model = self.instancialize(model)

    def instancialize(self, model, **other_args):
        class_args = inspect.getfullargspec(model.__init__).args[1:]
        held = self.hparams.keys()
        args = {name: getattr(self.hparams, name) for name in class_args if name in held}
        args.update(other_args)
        return model(**args)
