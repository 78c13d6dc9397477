"""Old code of the guide (1.2 and 1.3): modules, steps, optimizers, data, logging, devices."""

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pl_bolts.callbacks import PrintTableMetricsCallback
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CometLogger, CSVLogger, TensorBoardLogger, TestTubeLogger
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import models, transforms
from torchvision.datasets import MNIST


class Net(pl.LightningModule):
    """What the blocks below leave out: layers, and a loss."""

    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

    def loss(self, batch):
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


# --------------------------------------------------------------- a step and the end of its epoch
class StepAndEpochEnd(Net):
    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        return {"loss": loss, "preds": self(x).argmax(dim=1)}

    def training_epoch_end(self, training_step_outputs):
        self.all_preds = [out["preds"] for out in training_step_outputs]
        self.losses = torch.stack([out["loss"] for out in training_step_outputs])


# --------------------------------------------------------------- three forms of a training step
class OneLoss(Net):
    def training_step(self, batch, batch_idx):
        x, y = batch
        out = self(x)
        loss = F.cross_entropy(out, y)
        return loss


class TwoOptimizers(Net):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 2)
        self.turns = []

    def training_step(self, batch, batch_idx, optimizer_idx):
        x, y = batch
        self.turns.append(optimizer_idx)
        if optimizer_idx == 0:
            loss = F.cross_entropy(self.decoder(self.encoder(x)), y)
        if optimizer_idx == 1:
            loss = F.cross_entropy(self.decoder(self.encoder(x).detach()), y)
        return loss

    def configure_optimizers(self):
        encoder_opt = torch.optim.Adam(self.encoder.parameters(), lr=0.01)
        decoder_opt = torch.optim.Adam(self.decoder.parameters(), lr=0.01)
        return encoder_opt, decoder_opt


class Truncated(Net):
    truncated_bptt_steps = 2

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.seen = []

    def training_step(self, batch, batch_idx, hiddens):
        x, y = batch
        self.seen.append((x.shape[1], None if hiddens is None else hiddens[0].requires_grad))
        out, hiddens = self.lstm(x, hiddens)
        loss = (out.sum(dim=-1) - y).square().mean()
        return {"loss": loss, "hiddens": hiddens}


# --------------------------------------------------------------- all at once
class LogsDict(Net):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        values = {"loss": loss, "acc": (self(batch[0]).argmax(1) == batch[1]).float().mean()}
        self.log_dict(values, on_step=False, on_epoch=True)
        return loss


# --------------------------------------------------------------- the least that trains
def minimal(train_dataloader, val_dataloader):
    model = LitClassifier()
    trainer = Trainer(max_epochs=1)
    trainer.fit(model, train_dataloader, val_dataloader)
    return trainer


# --------------------------------------------------------------- batch size and learning rate
class Tuned(pl.LightningModule):
    def __init__(self, learning_rate, batch_size, dataset):
        super().__init__()
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.dataset = dataset
        self.layer = nn.Linear(4, 2)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self.layer(x), y)

    def train_dataloader(self):
        return DataLoader(self.dataset, batch_size=self.batch_size)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


def scale_batch_size(model, mode):
    trainer = Trainer(auto_scale_batch_size=mode, max_epochs=1, logger=False)
    trainer.tune(model)
    return trainer


def find_rate(model):
    trainer = Trainer(auto_lr_find=True, max_epochs=1, logger=False)
    trainer.tune(model)
    return trainer


# --------------------------------------------------------------- what becomes of logged values
class LitClassifier(Net):
    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True, logger=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        y_hat = self(x)
        self.log("val_loss", F.cross_entropy(y_hat, y))
        return y_hat

    def validation_epoch_end(self, validation_step_outputs):
        all_preds = torch.cat(validation_step_outputs)
        self.log("mean_pred", all_preds.mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss(batch))


# --------------------------------------------------------------- a data module
class MNISTDataModule(pl.LightningDataModule):
    def __init__(self, data_dir="./", batch_size=8, num_workers=0):
        super().__init__()
        self.data_dir = data_dir
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )
        self.dims = (1, 28, 28)
        self.num_classes = 10

    def prepare_data(self):
        MNIST(self.data_dir, train=True, download=True)
        MNIST(self.data_dir, train=False, download=True)

    def setup(self, stage=None):
        if stage == "fit" or stage is None:
            mnist_full = MNIST(self.data_dir, train=True, transform=self.transform)
            self.mnist_train, self.mnist_val = random_split(mnist_full, [50, 10])
        if stage == "test" or stage is None:
            self.mnist_test = MNIST(self.data_dir, train=False, transform=self.transform)

    def train_dataloader(self):
        return DataLoader(self.mnist_train, self.batch_size, num_workers=self.num_workers)

    def val_dataloader(self):
        return DataLoader(self.mnist_val, self.batch_size, num_workers=self.num_workers)

    def test_dataloader(self):
        return DataLoader(self.mnist_test, self.batch_size, num_workers=self.num_workers)


class LitMNIST(pl.LightningModule):
    def __init__(self, channels, width, height, num_classes, hidden_size=16):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * width * height, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, num_classes),
        )

    def forward(self, x):
        return F.log_softmax(self.model(x), dim=1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.nll_loss(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", F.nll_loss(self(x), y), prog_bar=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_loss", F.nll_loss(self(x), y))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=2e-3)


def fit_by_size():
    dm = MNISTDataModule()
    model = LitMNIST(*dm.size(), dm.num_classes)
    trainer = Trainer(max_epochs=1)
    trainer.fit(model, dm)
    results = trainer.test(datamodule=dm)
    return trainer, dm, results


# --------------------------------------------------------------- checkpoints
def keep_the_best(model, train_loader, val_loader):
    checkpoint_callback = ModelCheckpoint(
        monitor="val_loss",
        filename="sample-mnist-{epoch:02d}-{val_loss:.2f}",
        save_top_k=3,
        mode="min",
        save_last=True,
    )
    trainer = Trainer(max_epochs=5, callbacks=[checkpoint_callback], progress_bar_refresh_rate=0)
    trainer.fit(model, train_loader, val_loader)
    return trainer


class Sized(LitClassifier):
    def __init__(self, in_dim, out_dim, learning_rate=0.01):
        super().__init__(learning_rate)
        self.save_hyperparameters()
        self.layer = nn.Linear(self.hparams.in_dim, self.hparams.out_dim)


def resume(model, path, loader):
    trainer = Trainer(resume_from_checkpoint=path, max_epochs=3, logger=False)
    trainer.fit(model, loader, loader)
    return trainer


# --------------------------------------------------------------- callbacks
def stop_early(model, train_loader, val_loader):
    early_stop_callback = EarlyStopping(
        monitor="val_loss", min_delta=0.00, patience=3, verbose=False, mode="max"
    )
    trainer = Trainer(callbacks=[early_stop_callback], progress_bar_refresh_rate=0)
    trainer.fit(model, train_loader, val_loader)
    return trainer


def print_tables(model, train_loader, val_loader):
    callback = PrintTableMetricsCallback()
    trainer = pl.Trainer(
        max_epochs=2, callbacks=[callback], progress_bar_refresh_rate=0, weights_summary=None
    )
    trainer.fit(model, train_loader, val_loader)


# --------------------------------------------------------------- loggers
def several_loggers():
    tb_logger = TensorBoardLogger("logs/")
    tt_logger = TestTubeLogger("logs/", create_git_tag=True)
    csv_logger = CSVLogger("logs/")
    comet_logger = CometLogger(save_dir="logs/")
    return Trainer(logger=[tb_logger, tt_logger, csv_logger, comet_logger], max_epochs=1)


class DrawsItself(OneLoss):
    def training_step(self, batch, batch_idx):
        tensorboard = self.logger.experiment
        tensorboard.add_image("images", batch[0].view(1, 4, -1).sigmoid(), batch_idx)
        tensorboard.add_histogram("weights", self.layer.weight, batch_idx)
        tensorboard.add_text("said", "a word", batch_idx)
        tensorboard.add_scalars("both", {"one": 1.0, "two": 2.0}, batch_idx)
        return self.loss(batch)


# --------------------------------------------------------------- transfer learning
class ImagenetTransferLearning(pl.LightningModule):
    def __init__(self):
        super().__init__()
        backbone = models.resnet50(pretrained=True)
        num_filters = backbone.fc.in_features
        layers = list(backbone.children())[:-1]
        self.feature_extractor = nn.Sequential(*layers)
        num_target_classes = 10
        self.classifier = nn.Linear(num_filters, num_target_classes)

    def forward(self, x):
        self.feature_extractor.eval()
        with torch.no_grad():
            representations = self.feature_extractor(x).flatten(1)
        return self.classifier(representations)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


# --------------------------------------------------------------- devices
class DeviceFree(OneLoss):
    def __init__(self):
        super().__init__()
        self.register_buffer("sigma", torch.eye(4))

    def forward(self, x):
        z = torch.zeros(2, 4).type_as(x)
        noise = torch.randn(x.shape[0], 4, device=self.device)
        self.places = {str(t.device) for t in (x, z, noise, self.sigma)}
        return self.layer(x @ self.sigma + 0.01 * noise)


class RDNFuse(nn.Module):
    def __init__(self, channels=4, blocks=2):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv1d(1, channels, 3, padding=1) for _ in range(blocks)])
        self.fuse = nn.Conv1d(channels * blocks, 1, 1)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        x = x.unsqueeze(1)
        dense = torch.cat([F.relu(conv(x)) for conv in self.convs], dim=1)
        mask = torch.ones_like(x)
        return (x + self.fuse(dense) * mask * self.scale).squeeze(1)


class MInterface(OneLoss):
    def __init__(self):
        super().__init__()
        self.model = RDNFuse()

    def forward(self, x):
        return self.layer(self.model(x))
