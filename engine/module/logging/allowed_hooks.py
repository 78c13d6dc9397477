"""In which hooks `self.log` may be called, and what it does there by default."""

from __future__ import annotations

import sys

from engine.runtime.errors import MisconfigurationException

_STEP, _EPOCH = (True, False), (False, True)

# Where logging is allowed: default of on_step and on_epoch. In hooks that run once an epoch there
# is no step that a value could belong to.
DEFAULTS: dict[str, tuple[bool, bool]] = {
    **dict.fromkeys(
        [
            "training_step",
            "training_step_end",
            "on_before_backward",
            "on_after_backward",
            "on_before_optimizer_step",
            "on_before_zero_grad",
            "optimizer_step",
            "backward",
            "optimizer_zero_grad",
            "configure_gradient_clipping",
            "on_batch_start",
            "on_batch_end",
            "on_train_batch_start",
            "on_train_batch_end",
        ],
        _STEP,
    ),
    **dict.fromkeys(
        [
            f"{hook}{stage}{end}"
            for stage in ("validation", "test")
            for hook, end in (("", "_step"), ("", "_step_end"), ("on_", "_batch_start"))
        ],
        _EPOCH,
    ),
    "on_validation_batch_end": _EPOCH,
    "on_test_batch_end": _EPOCH,
}
ONCE_AN_EPOCH = {
    "on_train_start",
    "on_validation_start",
    "on_test_start",
    "on_epoch_start",
    "on_epoch_end",
    "training_epoch_end",
    "validation_epoch_end",
    "test_epoch_end",
    *(f"on_{s}_epoch_{e}" for s in ("train", "validation", "test") for e in ("start", "end")),
}
DEFAULTS.update(dict.fromkeys(ONCE_AN_EPOCH, _EPOCH))


def step_and_epoch(
    name: str, hook: str, on_step: bool | None, on_epoch: bool | None
) -> tuple[bool, bool]:
    """Whether a value that `hook` logs under `name` counts for the step, and for the epoch.

    Args:
        name: the name that is logged, for messages.
        hook: the hook that runs, one of `DEFAULTS`.
        on_step: what the call of `self.log` says, None for the hook's default.
        on_epoch: likewise.

    Raises:
        MisconfigurationException: a step's value is asked for where there is no step.
    """
    default_on_step, default_on_epoch = DEFAULTS[hook]
    on_step = default_on_step if on_step is None else on_step
    on_epoch = default_on_epoch if on_epoch is None else on_epoch
    if on_step and hook in ONCE_AN_EPOCH:
        raise MisconfigurationException(
            f"self.log({name!r}, on_step=True) in `{hook}`: that hook runs once an epoch, "
            "there is no step that the value belongs to; leave on_step out"
        )
    return on_step, on_epoch


def not_allowed(name: str, hook: str | None) -> MisconfigurationException:
    """The error of a call of `self.log` where nothing can be logged."""
    return MisconfigurationException(
        f"self.log({name!r}) was called in `{hook or _caller()}`, where nothing can be "
        f"logged; it can be called in {', '.join(sorted(DEFAULTS))}"
    )


def _caller() -> str:
    """The name of the function that called `self.log`: the nearest one that is not the engine's."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("engine."):
        frame = frame.f_back
    return frame.f_code.co_name
