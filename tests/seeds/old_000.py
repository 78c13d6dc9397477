"""Old code of the first tutorial (1.5): CIFAR10 with a ResNet, and a T5 that writes a file."""

import json
import os

import pytorch_lightning as pl
import torch
import torch.nn as nn
import torch.utils.data as data
import torchvision
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from torchvision import transforms
from torchvision.datasets import CIFAR10


# --------------------------------------------------------------- fit and test, with the rate drawn
def fit_and_test(model, train_loader, val_loader, test_loader):
    lr_monitor = LearningRateMonitor(logging_interval="step")
    trainer = pl.Trainer(
        max_epochs=2, log_every_n_steps=1, progress_bar_refresh_rate=0, callbacks=[lr_monitor]
    )
    trainer.fit(model, train_loader, val_loader)
    results = trainer.test(model, test_loader)
    return trainer, results


# --------------------------------------------------------------- data
def get_data_loader(args):
    train_set = CIFAR10(root=args.data_dir, train=True, download=True)
    means = (train_set.data / 255.0).mean(axis=(0, 1, 2))
    std = (train_set.data / 255.0).std(axis=(0, 1, 2))
    test_transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(means, std)])
    train_transform = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomResizedCrop((32, 32), scale=(0.8, 1.0), ratio=(0.9, 1.1)),
            transforms.ToTensor(),
            transforms.Normalize(means, std),
        ]
    )
    train_dataset = CIFAR10(root=args.data_dir, train=True, transform=train_transform)
    val_dataset = CIFAR10(root=args.data_dir, train=True, transform=test_transform)
    sizes = [len(train_dataset) - args.val_size, args.val_size]
    pl.seed_everything(42)
    train_set, _ = data.random_split(train_dataset, sizes)
    pl.seed_everything(42)
    _, val_set = data.random_split(val_dataset, sizes)
    test_set = CIFAR10(root=args.data_dir, train=False, transform=test_transform)

    train_loader = data.DataLoader(
        train_set, batch_size=args.batch_size, shuffle=True, drop_last=True
    )
    val_loader = data.DataLoader(val_set, batch_size=args.batch_size, shuffle=False)
    test_loader = data.DataLoader(test_set, batch_size=args.batch_size, shuffle=False)
    return train_loader, val_loader, test_loader


# --------------------------------------------------------------- model and system
class ResNet50(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.model = torchvision.models.resnet50(pretrained=False, num_classes=num_classes)

    def forward(self, x):
        return self.model(x)


class CIFARModule(pl.LightningModule):
    def __init__(self, args):
        super().__init__()
        self.save_hyperparameters()
        self.args = args
        self.model = ResNet50(args.num_classes)
        self.loss_module = nn.CrossEntropyLoss()
        self.example_input_array = torch.zeros((1, 3, 64, 64), dtype=torch.float32)

    def forward(self, imgs):
        return self.model(imgs)

    def configure_optimizers(self):
        if self.args.optimizer == "adam":
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.args.lr)
        elif self.args.optimizer == "sgd":
            optimizer = torch.optim.SGD(self.parameters(), lr=self.args.lr, momentum=0.9)
        else:
            return None
        if self.args.schedule == "milestones":
            schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2], gamma=0.1)
            return [optimizer], [schedule]
        if self.args.schedule == "step":
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        return [optimizer]

    def training_step(self, batch, batch_idx):
        imgs, labels = batch
        preds = self.model(imgs)
        loss = self.loss_module(preds, labels)
        acc = (preds.argmax(dim=-1) == labels).float().mean()
        self.log("train_acc", acc, on_step=False, on_epoch=True)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        imgs, labels = batch
        acc = (self.model(imgs).argmax(dim=-1) == labels).float().mean()
        self.log("val_acc", acc, on_step=True, prog_bar=True)

    def test_step(self, batch, batch_idx):
        imgs, labels = batch
        acc = (self.model(imgs).argmax(dim=-1) == labels).float().mean()
        self.log("test_acc", acc, on_step=True)


def train_model(args, train_loader, val_loader, test_loader):
    checkpoint_callback = ModelCheckpoint(
        dirpath=os.path.join(args.checkpoint_path, "cifar10"),
        filename="{epoch:02d}-{val_acc:.4f}",
        monitor="val_acc",
        mode="max",
        save_top_k=3,
        save_weights_only=True,
        save_on_train_epoch_end=True,
    )
    lr_monitor = LearningRateMonitor("epoch")
    trainer = pl.Trainer.from_argparse_args(args, callbacks=[checkpoint_callback, lr_monitor])
    model = CIFARModule(args)
    trainer.fit(model, train_loader, val_loader)

    best = CIFARModule.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    val_result = trainer.test(best, dataloaders=val_loader, verbose=False)
    test_result = trainer.test(best, dataloaders=test_loader, verbose=False)
    result = {"val": val_result[0]["test_acc"], "test": test_result[0]["test_acc"]}
    return best, result, trainer


# --------------------------------------------------------------- predictions to a file
class T5Module(pl.LightningModule):
    def __init__(self, model, tokenizer, save_path):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.save_path = save_path

    def predict_step(self, batch, batch_idx, dataloader_idx=None):
        generated = self.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_length=8,
        )
        sources = self.tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
        predictions = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return {"source": sources, "prediction": predictions}

    def on_predict_batch_end(self, outputs, batch, batch_idx, dataloader_idx):
        with open(self.save_path, "a", encoding="utf-8") as f:
            for source, prediction in zip(outputs["source"], outputs["prediction"]):  # noqa: B905  (3.6)
                row = {"source": source, "prediction": prediction}
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
