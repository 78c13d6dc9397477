"""Modules that log in one hook, and what arrived: for tests of `self.log`."""

from __future__ import annotations

from engine.loggers import MemoryLogger
from tests.engine.support.toy import Toy, loader, quiet


class Logs(Toy):
    """Logs in one hook, once a call; the value is the index of the batch."""

    def __init__(self, hook, **arguments):
        super().__init__()
        self.count = 0
        base = getattr(super(), hook, None)

        def method(*args):
            self.log("it", float(self.count), **arguments)
            self.count += 1
            if base is not None and hook in ("training_step", "optimizer_step", "backward"):
                return base(*args)
            return args[0] if hook.endswith("step_end") else None

        setattr(self, hook, method)


def logged_by(tmp_path, model, run="fit", **options):
    logger = MemoryLogger()
    trainer = quiet(tmp_path, logger=logger, log_every_n_steps=1, **options)
    if run == "fit":
        trainer.fit(model, loader(), loader())
    else:
        trainer.test(model, loader(), verbose=False)
    return trainer, logger


def series(logger, name):
    """The (step, value) pairs of a name."""
    return [(step, values[name]) for step, values in logger.rows if name in values]


def names_like_it(trainer, logger):
    """Every name that `it` goes by."""
    logged = {name for _, values in logger.rows for name in values}
    return {name for name in logged | set(trainer.callback_metrics) if name.startswith("it")}
