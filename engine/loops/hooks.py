"""Hooks, resolved once a run: only those that somebody overrides are ever called.

A hook is found by its name on every callback and on the module. What an override accepts decides
how many of the offered arguments it gets, so signatures of 1.x and 2.x work side by side.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from engine.callbacks.base import Callback
from engine.module.module import LightningModule

Hook = Callable[..., Any]

# At these hooks callbacks that look at a metric come after the module, which may log it there.
_MODULE_FIRST = {
    "on_train_epoch_end",
    "on_validation_epoch_end",
    "on_test_epoch_end",
    "on_validation_end",
}
# These are offered an epoch's outputs, and get them only by an argument of that place.
_WITH_OUTPUTS = {"on_train_epoch_end", "on_validation_epoch_end", "on_test_epoch_end"}

_LENT = ("log", "log_dict")  # callbacks may call these as their own


@dataclass(frozen=True)
class OlderHooks:
    """Hooks of an older API that are called beside one of today's, by the name of that one."""

    before: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)


class NamesHook(Protocol):
    """Something that wants to know which hook runs."""

    hook: str | None


def is_overridden(name: str, owner: object, base: type) -> bool:
    """Whether `owner` has a method `name` of its own, not the empty one of `base`."""
    method = getattr(owner, name, None)
    if not callable(method):
        return False
    return getattr(method, "__func__", method) is not getattr(base, name, None)


def accepted(method: Hook, offered: int) -> int:
    """How many of `offered` positional arguments `method` takes."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # builtins and mocks do not say
        return offered
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return offered
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return min(offered, sum(p.kind in kinds for p in parameters))


def fitted(method: Hook, offered: int) -> Hook:
    """`method`, or a version of it that drops the trailing arguments it does not take."""
    count = accepted(method, offered)
    if count == offered:
        return method
    return lambda *args: method(*args[:count])


def takes(method: Hook, name: str, or_any: bool = False) -> bool:
    """Whether `method` has a parameter `name`, or, if asked, takes any keyword."""
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or (
        or_any and any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    )


def requires(method: Hook, name: str) -> bool:
    """Whether `method` has a parameter `name` that must be given."""
    try:
        parameter = inspect.signature(method).parameters.get(name)
    except (TypeError, ValueError):
        return False
    return parameter is not None and parameter.default is parameter.empty


def asks_for(method: Hook, place: int) -> bool:
    """Whether `method` names its argument at `place`: `unused` only keeps that place."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return False
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(named) > place and named[place] != "unused"


def by_name(method: Hook, *names: str) -> Hook:
    """A function of exactly the arguments `names` that hands on those which `method` takes.

    Where `method` names its parameters otherwise, they go by position.
    """
    try:
        parameters = list(inspect.signature(method).parameters.values())
    except (TypeError, ValueError):
        return method
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return method
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        taken = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
        count = 0 if all(name in names for name in taken) else accepted(method, len(names))
        rest = names[count:]
        return lambda *args: method(*args[:count], **dict(zip(rest, args[count:], strict=True)))
    taken = [p.name for p in parameters]
    if all(name in names for name in taken):
        if taken == list(names):
            return method
        places = [names.index(name) for name in taken]
        return lambda *args: method(*(args[place] for place in places))
    return fitted(method, len(names))


class Hooks:
    """Finds hooks for one run."""

    def __init__(
        self,
        trainer: Any,
        module: Any,
        callbacks: Sequence[Callback],
        names_hook: NamesHook,
        older: OlderHooks = OlderHooks(),
    ) -> None:
        self._trainer = trainer
        self._module = module
        self._callbacks = list(callbacks)
        self._names_hook = names_hook
        self._older = older
        self._lend()

    def _lend(self) -> None:
        for callback in self._callbacks:
            if type(callback).__module__.startswith("engine."):
                continue
            for name in _LENT:
                if not hasattr(callback, name):
                    vars(callback)[name] = getattr(self._module, name)

    def take_back(self) -> None:
        """What the callbacks were lent for the run: `log` and `log_dict` of the module."""
        for callback in self._callbacks:
            for name in _LENT:
                if getattr(vars(callback).get(name), "__self__", None) is self._module:
                    del vars(callback)[name]

    def find(
        self, name: str, offered: int = 0, then: Callable[[], None] | None = None
    ) -> Hook | None:
        """The hook `name`, to be called with `offered` arguments; None if nobody has it.

        The call returns what the module's own override returns. `then` runs after that, before
        the callbacks that look at a metric. Hooks of an older API that belong to it are called
        with it; one before it that returns -1 is the last.
        """
        hook = self._find(name, offered, then)
        names_after = self._older.after.get(name, ())
        first = self._find(self._older.before[name]) if name in self._older.before else None
        rest = [one for one in map(self._find, names_after) if one is not None]
        if first is None and not rest:
            return hook

        def call(*args: Any) -> Any:
            if first is not None and first() == -1:
                return -1
            result = None
            if hook is not None:
                result = hook(*args)
            elif then is not None:
                then()
            for one in rest:
                one()
            return result

        return call

    def _find(
        self, name: str, offered: int = 0, then: Callable[[], None] | None = None
    ) -> Hook | None:
        before, own, after = self._owners(name, offered)
        if not before and own is None and not after:
            return None
        names_hook = self._names_hook

        def call(*args: Any) -> Any:
            outer, names_hook.hook = names_hook.hook, name
            for hook in before:
                hook(*args)
            result = None if own is None else own(*args)
            if then is not None:
                then()
            for hook in after:
                hook(*args)
            names_hook.hook = outer
            return result

        return call

    def wants_outputs(self, name: str) -> bool:
        """Whether an override of `name`, the end of an epoch, takes its outputs as in 1.3."""
        own = self.own(name)
        return (own is not None and asks_for(own, 0)) or any(
            is_overridden(name, callback, Callback) and asks_for(getattr(callback, name), 2)
            for callback in self._callbacks
        )

    def may_log(self, name: str) -> bool:
        """Whether anybody who could log has the hook `name`, or one that is called with it."""
        return self._may_log(name) or self.may_log_after(name)

    def may_log_after(self, name: str) -> bool:
        """Whether a hook of an older API may log that is called after the hook `name`."""
        return any(self._may_log(older) for older in self._older.after.get(name, ()))

    def _may_log(self, name: str) -> bool:
        # The engine's own members never do.
        return self.own(name) is not None or any(
            is_overridden(name, callback, Callback)
            and not type(callback).__module__.startswith("engine.")
            for callback in self._callbacks
        )

    def call(self, name: str, *args: Any) -> Any:
        """Find and call: for hooks that run a few times at most."""
        hook = self.find(name, len(args))
        return None if hook is None else hook(*args)

    def callbacks_only(self, name: str, *args: Any) -> None:
        """Call a hook of the callbacks that modules have with other arguments."""
        for callback in self._callbacks:
            if is_overridden(name, callback, Callback):
                self._bound(callback, name, len(args))(*args)

    def module_only(self, name: str, *args: Any) -> Any:
        """Call a hook of the module alone."""
        own = self.own(name)
        if own is None:
            return None
        outer, self._names_hook.hook = self._names_hook.hook, name
        result = fitted(own, len(args))(*args)
        self._names_hook.hook = outer
        return result

    def fetching(self, action: str, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches, as they are."""
        return batches

    def own(self, name: str) -> Hook | None:
        """The module's override of `name`, None if it has none."""
        if not is_overridden(name, self._module, LightningModule):
            return None
        method: Hook = getattr(self._module, name)
        return method

    def _bound(self, callback: Callback, name: str, offered: int) -> Hook:
        method = _fitted_to(name, getattr(callback, name), offered, 2)
        return partial(method, self._trainer, self._module)

    def _owners(self, name: str, offered: int) -> tuple[list[Hook], Hook | None, list[Hook]]:
        before: list[Hook] = []
        after: list[Hook] = []
        for callback in self._callbacks:
            if is_overridden(name, callback, Callback):
                late = name in _MODULE_FIRST and hasattr(callback, "monitor")
                (after if late else before).append(self._bound(callback, name, offered))
        own = self.own(name)
        return before, None if own is None else _fitted_to(name, own, offered, 0), after


def _fitted_to(name: str, method: Hook, offered: int, leading: int) -> Hook:
    if name in _WITH_OUTPUTS and not asks_for(method, leading):
        return lambda *args: method(*args[:leading])
    return fitted(method, offered + leading)
