"""Modules and data modules made of a checkpoint: with its hyper-parameters, then its weights."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from engine.module.compiled import named_for
from engine.module.hyperparameters.hparams import AttributeDict, in_kind
from engine.module.hyperparameters.init_arguments import parameters_of
from engine.runtime.distributed.world import rank_zero_warn
from engine.runtime.storage.checkpoint import (
    FORCE,
    called,
    differences,
    is_strict,
    opened,
    read_in_full,
    weights_in,
)
from engine.runtime.storage.hparams_data import from_objects, from_plain
from engine.runtime.storage.yaml_data import load_yaml


def module_from_checkpoint(
    cls: type[Any],
    path: Any,
    map_location: Any,
    hparams_file: Any,
    strict: bool | None,
    weights_only: bool,
    overrides: dict[str, Any],
) -> Any:
    """A module of class `cls` with the checkpoint's hyper-parameters and weights."""
    device = map_location or "cpu"
    checkpoint, in_full = read_in_full(path, device, weights_only)
    if hparams_file is not None:
        checkpoint["hyper_parameters"] = _read_yaml(hparams_file)
    objects_to = device if in_full else None
    params = _params(checkpoint, "", objects_to, overrides)
    arguments = _arguments(cls, params, checkpoint, "", overrides)
    module = _made(cls, arguments)
    if not module.hparams and params:
        module.__dict__["_hparams"] = AttributeDict({**params, **overrides})
    module.on_load_checkpoint(checkpoint)
    state = named_for(module, weights_in(checkpoint, called(path)))
    strict = is_strict(module) if strict is None else strict
    try:
        module.load_state_dict(state, strict=strict)
    except RuntimeError as error:
        raise RuntimeError(_misfit(module, state, overrides, called(path), error)) from error
    _say_defaults(cls, params, checkpoint, "", arguments)
    if not strict and (left := differences(module, state)):
        rank_zero_warn(f"{called(path)} was not loaded strictly: {left}")
    return module


def _misfit(
    module: Any, state: Mapping[str, Any], overrides: dict[str, Any], name: str, error: Exception
) -> str:
    """Why the weights of a file are none for the module: shapes first, since they stop it."""
    mine = module.state_dict()
    shapes = [
        f"{name} is {tuple(value.shape)} in the file and {tuple(mine[name].shape)} in the module"
        for name, value in state.items()
        if name in mine and hasattr(value, "shape") and value.shape != mine[name].shape
    ]
    if not shapes:
        return f"{error}. strict=False loads what fits"
    given = ", ".join(f"{name}={value!r}" for name, value in overrides.items())
    more = f", and {len(shapes) - 3} more" if len(shapes) > 3 else ""
    return (
        f"the weights of {name} do not fit {type(module).__name__}({given}): "
        f"{'; '.join(shapes[:3])}{more}. Leave out the argument that changes a shape, or make the "
        "module anew and copy the weights that you want"
    )


def datamodule_from_checkpoint(
    cls: type[Any], path: Any, map_location: Any, weights_only: bool, overrides: dict[str, Any]
) -> Any:
    """A data module of class `cls` with the checkpoint's hyper-parameters and state."""
    device = map_location or "cpu"
    checkpoint, in_full = read_in_full(path, device, weights_only)
    objects_to = device if in_full else None
    params = _params(checkpoint, "datamodule_", objects_to, overrides)
    arguments = _arguments(cls, params, checkpoint, "datamodule_", overrides)
    datamodule = _made(cls, arguments)
    _say_defaults(cls, params, checkpoint, "datamodule_", arguments)
    state = checkpoint.get(cls.__qualname__)
    if state:
        datamodule.load_state_dict(state)
    return datamodule


# ---------------------------------------------------------------------- hyper-parameters


def _params(checkpoint: dict[str, Any], prefix: str, objects_to: Any, known: Any) -> dict[str, Any]:
    """The hyper-parameters as they were; the objects among them, on a device, if one is given."""
    key = f"{prefix}hyper_parameters"
    params = from_plain(checkpoint.get(key, {}))
    for name in checkpoint.get(f"{key}_configs", ()):
        params[name] = in_kind(params[name], "omegaconf")
    objects = checkpoint.get(f"{key}_objects", {})
    if objects_to is not None:
        return {**params, **from_objects(objects, objects_to)}
    left = sorted(set(objects) - set(known))
    if left:
        rank_zero_warn(
            f"hyper-parameters that are objects were left out: {', '.join(left)}. If you trust the "
            f"file, weights_only=False (or the environment's {FORCE}=1) reads them, too"
        )
    return params


def _made(cls: type[Any], arguments: dict[str, Any]) -> Any:
    """A `cls` made with its hyper-parameters, or an error that says what it lacks."""
    positional, by_name = _in_order(cls, arguments)
    try:
        return cls(*positional, **by_name)
    except TypeError as error:
        raise TypeError(
            f"{cls.__name__} cannot be made with what the checkpoint holds "
            f"({', '.join(arguments) or 'no hyper-parameters'}): {error}. Give what is missing: "
            f"{cls.__name__}.load_from_checkpoint(path, name=value)"
        ) from error


def _arguments(
    cls: type[Any],
    params: dict[str, Any],
    checkpoint: dict[str, Any],
    prefix: str,
    overrides: dict[str, Any],
) -> dict[str, Any]:
    """What `cls` is called with: its own hyper-parameters, overridden."""
    parameters = inspect.signature(cls.__init__).parameters
    name, kind = checkpoint.get(f"{prefix}hparams_name"), checkpoint.get(f"{prefix}hparams_kind")
    if name not in (None, "kwargs") and name in parameters_of(cls):
        # The hyper-parameters were one object: `save_hyperparameters(args)`.
        known = {key: value for key, value in overrides.items() if key in parameters}
        inner = {key: value for key, value in overrides.items() if key not in parameters}
        return {str(name): in_kind({**params, **inner}, kind), **known}
    arguments = {**params, **overrides}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return arguments
    for key in overrides:
        if key not in parameters:  # programs hand on all that their command line knows
            near = difflib.get_close_matches(key, list(parameters), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            rank_zero_warn(f"{cls.__name__} has no argument {key!r}: it is left out{hint}")
    return {key: value for key, value in arguments.items() if key in parameters}


def _say_defaults(
    cls: type[Any],
    params: dict[str, Any],
    checkpoint: dict[str, Any],
    prefix: str,
    arguments: dict[str, Any],
) -> None:
    """Name the arguments that only have their defaults, where these may not be what they were."""
    known = parameters_of(cls)
    defaults = [n for n, p in known.items() if p.default is not p.empty and n not in arguments]
    name_of_all = checkpoint.get(f"{prefix}hparams_name")
    lost = [name for name in params if name not in arguments and name_of_all not in known]
    if lost and defaults:  # an argument may have another name by now
        rank_zero_warn(
            f"{cls.__name__} has no argument {', '.join(lost)}, which the checkpoint holds, and is "
            f"made with the default of {', '.join(defaults)}. If an argument has another name now, "
            f"give its value: {cls.__name__}.load_from_checkpoint(path, {defaults[0]}=...)"
        )
        return
    if any(name in known for name in (*params, name_of_all)):
        left_out = checkpoint.get(f"{prefix}hparams_left_out", ())
        defaults = [name for name in defaults if name in left_out]
    if defaults:
        rank_zero_warn(
            f"{cls.__name__} is made with the default of {', '.join(defaults)}, which the "
            "checkpoint does not hold and which may have been another one in training. Give it: "
            f"{cls.__name__}.load_from_checkpoint(path, {defaults[0]}=...); what "
            "self.save_hyperparameters() keeps in __init__ is in checkpoints"
        )


def _in_order(cls: type[Any], arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by position and by name: what belongs to `*layers` follows those before it."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if rest not in arguments:
        return [], arguments
    before = [p for p in parameters if p.kind < p.VAR_POSITIONAL]
    positional = [arguments.get(p.name, p.default) for p in before] + list(arguments[rest])
    done = {rest, *(p.name for p in before)}
    return positional, {name: value for name, value in arguments.items() if name not in done}


def _read_yaml(path: Any) -> dict[str, Any]:
    with opened(path) as file:
        params: dict[str, Any] = load_yaml(file, called(path)) or {}
    return params
