"""A loop as 1.5 has it, to be run by oneself; the Trainer's own loops take none in their place."""

from __future__ import annotations

from typing import Any

from engine.runtime.errors import MisconfigurationException


class Loop:
    """Override `done`, `reset` and `advance`, and call `run`.

    reset, on_run_start; until `done`: on_advance_start, advance, on_advance_end; on_run_end
    """

    def __init__(self) -> None:
        self.restarting = False
        self._trainer: Any = None

    @property
    def trainer(self) -> Any:
        """The trainer that was given to this loop."""
        if self._trainer is None:
            raise MisconfigurationException(
                f"{type(self).__name__} has no trainer: set `loop.trainer` before it is run"
            )
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Any) -> None:
        self._trainer = trainer
        for inner in vars(self).values():
            if isinstance(inner, Loop):
                inner.trainer = trainer

    @property
    def done(self) -> bool:
        """Whether the loop ends here."""
        raise NotImplementedError(f"{type(self).__name__} has no `done`")

    @property
    def skip(self) -> bool:
        """Whether the loop does not run at all."""
        return False

    def reset(self) -> None:
        """Before each run."""
        raise NotImplementedError(f"{type(self).__name__} has no `reset`")

    def advance(self, *args: Any, **kwargs: Any) -> None:
        """One step."""
        raise NotImplementedError(f"{type(self).__name__} has no `advance`")

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """All steps; returns what `on_run_end` does. A StopIteration of a step ends the loop."""
        if self.skip:
            return self.on_skip()
        self.reset()
        self.on_run_start(*args, **kwargs)
        while not self.done:
            try:
                self.on_advance_start(*args, **kwargs)
                self.advance(*args, **kwargs)
                self.on_advance_end()
            except StopIteration:
                break
            self.restarting = False
        return self.on_run_end()

    def connect(self, **kwargs: Any) -> None:
        """Take other loops in."""

    def on_skip(self) -> Any:
        """In the place of a run that is skipped."""

    def on_run_start(self, *args: Any, **kwargs: Any) -> None:
        """Before the first step."""

    def on_advance_start(self, *args: Any, **kwargs: Any) -> None:
        """Before each step."""

    def on_advance_end(self) -> None:
        """After each step."""

    def on_run_end(self) -> Any:
        """After the last step."""

    def teardown(self) -> None:
        """Give free what the loop holds."""

    def on_save_checkpoint(self) -> dict[str, Any]:
        """The loop's own state."""
        return {}

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        """Take it back."""

    def state_dict(
        self, destination: dict[str, Any] | None = None, prefix: str = ""
    ) -> dict[str, Any]:
        """The state of this loop and of those in it."""
        found = {} if destination is None else destination
        found[f"{prefix}state_dict"] = self.on_save_checkpoint()
        for name, inner in vars(self).items():
            if isinstance(inner, Loop):
                inner.state_dict(found, f"{prefix}{name}.")
        return found

    def load_state_dict(self, state_dict: dict[str, Any], prefix: str = "") -> None:
        """Take it back, this loop and those in it."""
        self.on_load_checkpoint(state_dict[f"{prefix}state_dict"])
        self.restarting = True
        for name, inner in vars(self).items():
            if isinstance(inner, Loop):
                inner.load_state_dict(state_dict, f"{prefix}{name}.")
