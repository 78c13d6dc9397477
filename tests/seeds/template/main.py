"""The command line: own arguments, then all of the Trainer's."""

from argparse import ArgumentParser

import pytorch_lightning as pl
import pytorch_lightning.callbacks as plc
from data import DInterface
from model import MInterface
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger


def load_callbacks(args):
    callbacks = [
        plc.EarlyStopping(monitor="val_acc", mode="max", patience=10, min_delta=0.001),
        plc.ModelCheckpoint(
            monitor="val_acc",
            filename="best-{epoch:02d}-{val_acc:.3f}",
            save_top_k=1,
            mode="max",
            save_last=True,
        ),
    ]
    if args.lr_scheduler:
        callbacks.append(plc.LearningRateMonitor(logging_interval="epoch"))
    return callbacks


def main(args):
    pl.seed_everything(args.seed)
    data_module = DInterface(**vars(args))
    model = MInterface(**vars(args))
    logger = TensorBoardLogger(save_dir="kfold_log", name=args.log_dir)
    args.callbacks = load_callbacks(args)
    args.logger = logger
    trainer = Trainer.from_argparse_args(args)
    trainer.fit(model, data_module)


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("--batch_size", default=8, type=int)
    parser.add_argument("--num_workers", default=0, type=int)
    parser.add_argument("--seed", default=1234, type=int)
    parser.add_argument("--lr", default=5e-2, type=float)
    parser.add_argument("--lr_scheduler", choices=["step", "cosine"], type=str)
    parser.add_argument("--lr_decay_steps", default=20, type=int)
    parser.add_argument("--lr_decay_rate", default=0.5, type=float)
    parser.add_argument("--dataset", default="standard_data", type=str)
    parser.add_argument("--data_dir", default="ref/data", type=str)
    parser.add_argument("--model_name", default="standard_net", type=str)
    parser.add_argument("--loss", default="bce", type=str)
    parser.add_argument("--weight_decay", default=1e-5, type=float)
    parser.add_argument("--log_dir", default="lightning_logs", type=str)
    parser.add_argument("--in_channel", default=3, type=int)
    parser.add_argument("--hid", default=8, type=int)

    Trainer.add_argparse_args(parser.add_argument_group(title="pl.Trainer args"))
    parser.set_defaults(max_epochs=5)
    args = parser.parse_args()
    main(args)
