"""What is refused, with what to use instead: an argument is never ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from engine.errors import MisconfigurationException
from engine.options.table import INTERNAL, NEVER, OLD, SHOWN

# Arguments of Lightning that nothing here answers to yet: the value in this table means the same as
# leaving the argument out, any other is refused. Take a line away once the argument works.
LATER: dict[str, tuple[Any, ...]] = {
    "amp_backend": (None, "native"),
    "amp_level": (None, "O2"),
    "auto_select_gpus": (False,),
    "barebones": (False,),
    "detect_anomaly": (False, None),
    "enable_autolog_hparams": (True,),
    "flush_logs_every_n_steps": (None, 100),
    "log_gpu_memory": (None,),
    "max_time": (None,),
    "model_registry": (None,),
    "move_metrics_to_cpu": (False,),
    "multiple_trainloader_mode": ("max_size_cycle",),
    "plugins": (None, []),
    "process_position": (0,),
    "reload_dataloaders_every_n_epochs": (0,),
    "stochastic_weight_avg": (False,),
    "terminate_on_nan": (None, False),
    "track_grad_norm": (-1,),
    "weights_save_path": (None,),
}


def refuse(arguments: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The arguments without those that mean nothing; raises where one is unknown or refused."""
    kept = dict(arguments)
    known = {option.name for option in SHOWN} | set(INTERNAL)
    given, never = set(given), {refusal.name: refusal for refusal in NEVER}
    for name, value in arguments.items():
        if name in LATER:
            del kept[name]
            if not _is_one_of(value, LATER[name]):
                raise MisconfigurationException(
                    f"Trainer({name}={value!r}): this argument is not supported yet; leave it out"
                )
        elif name in never:
            del kept[name]
            if not _is_one_of(value, never[name].neutral):
                raise MisconfigurationException(f"Trainer({name}={value!r}): {never[name].instead}")
        elif name not in known or (name in INTERNAL and name in given):
            raise TypeError(unknown(name))
    return kept


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    return any(value is one or value == one for one in values)


def unknown(name: str) -> str:
    """What to say of an argument that there is not, with the nearest that there is."""
    known = [row.name for row in (*SHOWN, *OLD)] + [row.name for row in NEVER]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"Trainer has no argument {name!r}{hint}"
