"""The public Trainer: the core's, with the arguments, verbs and names of Lightning 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.compat.arguments import OLD, translated
from engine.compat.arguments.environment import from_environment, said
from engine.compat.arguments.shell import shell_arguments
from engine.compat.arguments.spellings import named
from engine.compat.commandline.argparse import Argument, FromShell
from engine.compat.legacy.hooks import OLDER_HOOKS
from engine.compat.legacy.view import OldView
from engine.runtime.coordination.signals import listening
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.errors import MisconfigurationException, Preempted
from engine.runtime.settings import Settings
from engine.runtime.storage import run_folder as rundir
from engine.strategies.base import Strategy
from engine.trainer.options import description, signature
from engine.trainer.saving.preemption import was_left_alone

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from engine.compat.arguments.typed import OldArguments
    from engine.tuner import Tuner


class Trainer(OldView, FromShell):
    """Trains, validates, tests and predicts with a LightningModule.

    Args:
        *positional: The logger may be given as the first argument, as in 1.x.
        **arguments: By name: those of today (`engine.trainer.options.table`) and their spellings
            of 1.x (`engine.compat.arguments.table`); `help(Trainer.__init__)` lists them all. What
            the program leaves out may be in the environment: PL_TRAINER_MAX_EPOCHS=3.

    Raises:
        TypeError: There is no such argument; the message has the nearest.
        MisconfigurationException: A value is wrong, or the engine never does what it asks for.

    Example:
        trainer = Trainer(max_epochs=3, accelerator="gpu", devices=2, precision="bf16")
        trainer.fit(model, train_loader, val_loader)
    """

    _older_hooks = OLDER_HOOKS

    def __init__(self, *positional: Any, **arguments: Unpack[OldArguments]) -> None:
        given = named(positional, arguments)
        outside = from_environment(given)
        given.update(outside)
        super().__init__(**translated(given))
        backend = given.get("distributed_backend")
        if backend is not None:
            notice = f"distributed_backend={backend!r} is an old word for strategy: it will do"
            self._notices.insert(0, notice)
        self._notices[:0] = said(outside)

    @classmethod
    def shell_arguments(cls) -> list[Argument]:
        """The arguments as the command line has them, old spellings too."""
        return shell_arguments()

    @property
    def tuner(self) -> Tuner:
        """The searches by hand: `trainer.tuner.lr_find(model)`."""
        from engine.tuner import Tuner  # only who tunes pays for its import

        return Tuner(self, updates=False)

    def tune(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        scale_batch_size_kwargs: Mapping[str, Any] | None = None,
        lr_find_kwargs: Mapping[str, Any] | None = None,
        train_dataloader: Any = None,
    ) -> dict[str, Any]:
        """Look for what `auto_scale_batch_size` and `auto_lr_find` ask for, and keep it.

        Only the values that were found stay: all else is afterwards as it was before.
        """
        wanted = self._settings.tune
        train = train_dataloaders if train_dataloaders is not None else train_dataloader
        if not callable(getattr(model, "training_step", None)):
            raise MisconfigurationException(
                f"{type(model).__name__} has no `training_step`: tune needs one"
            )
        if not wanted.auto_scale_batch_size and not wanted.auto_lr_find:
            rank_zero_warn(
                "trainer.tune does nothing without Trainer(auto_lr_find=...) or "
                "Trainer(auto_scale_batch_size=...)"
            )
        tuner = self.tuner
        found: dict[str, Any] = {}
        with listening(rundir.launched_dir() is not None, stays=True):
            try:
                if wanted.auto_scale_batch_size:
                    given = {
                        "mode": wanted.auto_scale_batch_size,
                        **(scale_batch_size_kwargs or {}),
                    }
                    found["scale_batch_size"] = tuner.scale_batch_size(
                        model, train, datamodule=datamodule, **given
                    )
                if wanted.auto_lr_find:
                    given = {"update_attr": True, **(lr_find_kwargs or {})}
                    found["lr_find"] = tuner.lr_find(model, train, datamodule=datamodule, **given)
            except RuntimeError as error:
                if was_left_alone("tune", error):
                    raise Preempted from error
                raise
        return {name: value for name, value in found.items() if value is not None}

    # The steps of a search, which were public once.

    def join_ranks(self) -> Strategy:
        """The strategy, with all ranks there."""
        from engine.tuner import trial

        return trial.join_ranks(self)

    def run_trial(
        self, settings: Settings, strategy: Any, module: Any, train: Any, datamodule: Any
    ) -> None:
        """Fit as another trainer would, which shares nothing with this one but the strategy."""
        from engine.tuner import trial

        trial.run_trial(self, settings, strategy, module, (train, datamodule))


# The table is the one place that arguments are written down in: editors and help() read them here.
_OLD_WORDS = [f"{option.name}: 1.x's word for {option.meaning}" for option in OLD]
Trainer.__init__.__signature__ = signature()  # type: ignore[attr-defined]  # functions have it
Trainer.__init__.__doc__ = "\n".join([description(), *_OLD_WORDS])
