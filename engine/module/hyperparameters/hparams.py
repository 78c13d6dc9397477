"""Hyper-parameters: collected from `__init__`, kept as plain data, given back at load."""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

from engine.module.hyperparameters.init_arguments import arguments_in, parameters_of
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.hparams_data import kind_of, omegaconf_class


class AttributeDict(dict[str, Any]):
    """A dict whose items are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no hyper-parameter {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return "\n".join(f"{name!r}: {value}" for name, value in sorted(self.items()))


class KeepsHyperparameters:
    """The part of modules and data modules that remembers what they were made with."""

    _hparams: AttributeDict
    _hparams_name: str | None
    _hparams_kind: str | None

    def save_hyperparameters(
        self,
        *args: Any,
        ignore: str | Iterable[str] | None = None,
        frame: FrameType | None = None,
        logger: bool = True,
    ) -> None:
        """Keep the arguments of `__init__` in `self.hparams`, in checkpoints and in loggers.

        Without `args` all are kept, with names only those; one object (a Namespace, a dict) is
        kept as the hyper-parameters themselves. `logger=False` keeps them out of loggers.
        """
        if frame is None:
            current = inspect.currentframe()
            frame = current.f_back if current else None
        found, name, kind = arguments_in(self, frame), None, None
        is_one = len(args) == 1 and not isinstance(args[0], str)
        if found is None and not is_one and parameters_of(type(self)):
            raise MisconfigurationException(_missing(self, parameters_of(type(self)), None))
        given = found or {}
        if not args:
            kept = dict(given)
        elif is_one:
            name = next((key for key, value in given.items() if value is args[0]), None)
            kept, kind = _as_dict(args[0]), kind_of(args[0])
        else:
            kept = {}
            for arg in args:
                is_name = isinstance(arg, str) and arg in given
                same = [arg] if is_name else [key for key in given if given[key] is arg]
                if not same:
                    raise MisconfigurationException(_missing(self, [repr(arg)], given))
                kept.update((key, given[key]) for key in same)
        dropped = {ignore} if isinstance(ignore, str) else set(ignore or ())
        kept = {key: value for key, value in kept.items() if key not in dropped}
        self.__dict__["_log_hparams"] = logger
        self.__dict__["_hparams_name"], self.__dict__["_hparams_kind"] = name, kind
        self.__dict__["_hparams"] = AttributeDict({**self.hparams, **kept})
        left = _left_out(self, given, self._hparams)
        self.__dict__["_hparams_left_out"] = [one for one in left if one != name]
        self.__dict__["_hparams_initial"] = AttributeDict(self._hparams)

    def _set_hparams(self, hp: Any) -> None:
        # Programs of 1.x call it to bring hyper-parameters up to date that were saved already.
        self.hparams.update(_as_dict(hp))

    @property
    def hparams(self) -> AttributeDict:
        """The hyper-parameters: `hparams.lr`, `hparams["lr"]`, `"lr" in hparams`."""
        if "_hparams" not in self.__dict__:
            self.__dict__["_hparams"] = AttributeDict()
        return self._hparams

    @hparams.setter
    def hparams(self, value: Any) -> None:
        # As programs of 1.0 wrote it: `self.hparams = hparams` is save_hyperparameters(hparams).
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_name in ("hparams", "__setattr__"):
            frame = frame.f_back
        self.__dict__.pop("_hparams", None)
        self.save_hyperparameters(value, frame=frame)

    @property
    def hparams_initial(self) -> AttributeDict:
        """The hyper-parameters as they were first saved."""
        return AttributeDict(self.__dict__.get("_hparams_initial", {}))


def _as_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, Namespace):
        return dict(vars(value))
    if kind_of(value) == "omegaconf":
        is_missing = omegaconf_class().is_missing
        return {name: "???" if is_missing(value, name) else value[name] for name in value}
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "__dict__"):
        return dict(vars(value))
    raise TypeError(
        f"save_hyperparameters({type(value).__name__}): give names, a Namespace or a dict"
    )


def _missing(owner: object, names: Iterable[str], given: Mapping[str, Any] | None) -> str:
    """What to say where arguments can't be saved."""
    kind = type(owner).__name__
    if given is None:
        return (
            f"{kind}.save_hyperparameters(): the arguments ({', '.join(names)}) can't be found, "
            f"since no __init__ of this {kind} is running. Call it in __init__ or in what that "
            "calls, or hand over what is to be kept: save_hyperparameters({'name': value})"
        )
    return (
        f"{kind}.save_hyperparameters: {', '.join(names)} is no argument of its __init__, which "
        f"has {', '.join(given) or 'none'}. Give names or values of these, or one dict or Namespace"
    )


def _left_out(owner: object, given: Mapping[str, Any], kept: Iterable[str]) -> list[str]:
    """The arguments that are not kept, and not what a module has by default."""
    parameters = parameters_of(type(owner))
    left = [name for name in given if name not in kept and name in parameters]
    return [name for name in left if not _is_same(given[name], parameters[name].default)]


def _is_same(value: Any, default: Any) -> bool:
    plain = (bool, int, float, str, bytes, tuple)
    return value is default or (type(value) is type(default) in plain and value == default)


def in_kind(params: Any, kind: str | None) -> Any:
    """Hyper-parameters in a mapping of a kind again."""
    if kind == "omegaconf":
        return omegaconf_class().create(dict(params) if isinstance(params, Mapping) else params)
    return AttributeDict(params) if kind == "dict" else Namespace(**params)
