"""A verb of a trainer whose ranks are children of this process; see `engine.trainer.children`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from engine.runtime.coordination.signals import listening
from engine.strategies.choose import start_method
from engine.trainer import lifecycle
from engine.trainer.defaults import with_module_callbacks
from engine.trainer.saving.preemption import handles_preemption


class Returned(NamedTuple):
    """What a verb returned on rank zero."""

    value: Any


def run_apart(
    trainer: Any, verb: str, model: Any, datamodule: Any, **given: Any
) -> Returned | None:
    """Run a verb on ranks that are forked or spawned for it, where it can have no others.

    None where it is to be run here. What the ranks made of module, callbacks and trainer is
    afterwards in those of the caller, also where one has failed, whose error is raised.
    """
    method = start_method(trainer.strategy, trainer._settings.hardware)
    if method is None:
        return None
    from engine.loggers.folders.versions import settle_versions
    from engine.trainer.children.handover import take_over
    from engine.trainer.children.verb import run_verb

    module = model if model is not None else trainer.lightning_module
    replaces = verb == "fit" or trainer.lightning_module is None
    settle_versions(trainer.loggers)
    given = {**given, "model": model, "datamodule": datamodule}
    outcome = run_verb(trainer, verb, given, method, listening(handles_preemption(trainer, verb)))
    trainer._notices.clear()  # the ranks have said them
    if outcome.back:
        run = trainer._assemble(verb, module, datamodule)
        lifecycle.detach(run)
        trainer.callbacks = with_module_callbacks(trainer.callbacks, module, replaces)
        made = take_over(trainer, outcome.back)
        if verb == "fit":
            trainer._optimization, run = made, replace(run, optimization=made)
        trainer._run = run
    if outcome.error is not None:
        raise outcome.error
    return Returned(outcome.value)
