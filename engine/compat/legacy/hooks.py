"""The hooks that only 1.x has, each called beside one of today's."""

from engine.loops.hooks import OlderHooks

_EPOCHS = ("train", "validation", "test")

OLDER_HOOKS = OlderHooks(
    before={
        "on_train_batch_start": "on_batch_start",
        **{f"on_{stage}_epoch_start": "on_epoch_start" for stage in _EPOCHS},
    },
    after={
        "on_train_batch_end": ("on_batch_end",),
        "on_fit_start": ("on_pretrain_routine_start", "on_pretrain_routine_end"),
        **{f"on_{stage}_epoch_end": ("on_epoch_end",) for stage in _EPOCHS},
    },
)
