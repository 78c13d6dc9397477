"""What is refused, with what to use instead: an argument is never ignored."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from engine.compat.arguments.table import NEVER, OLD
from engine.runtime.errors import MisconfigurationException
from engine.trainer.options.table import INTERNAL, SHOWN

ALIKE = 0.6


def refuse(arguments: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
    """The arguments without those that mean nothing; raises where one is unknown or refused."""
    kept = dict(arguments)
    known = {option.name for option in SHOWN} | set(INTERNAL)
    given, never = set(given), {refusal.name: refusal for refusal in NEVER}
    for name, value in arguments.items():
        if name in never:
            del kept[name]
            if not _is_one_of(value, never[name].neutral):
                raise MisconfigurationException(f"Trainer({name}={value!r}): {never[name].instead}")
        elif name not in known or (name in INTERNAL and name in given):
            raise TypeError(unknown(name))
    return kept


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    return any(value is one or value == one for one in values)


# Names from before 1.0, and short ones, that are too far from what they became.
_ONCE = {
    "ckpt_path": "resume_from_checkpoint",
    "default_save_path": "default_root_dir",
    "log_save_interval": "flush_logs_every_n_steps",
    "nb_sanity_val_steps": "num_sanity_val_steps",
    "overfit_pct": "overfit_batches",
    "print_nan_grads": "detect_anomaly",
    "row_log_interval": "log_every_n_steps",
    "swa": "stochastic_weight_avg",
    "test_percent_check": "limit_test_batches",
    "train_percent_check": "limit_train_batches",
    "use_amp": "precision",
    "val_percent_check": "limit_val_batches",
}


def unknown(name: str) -> str:
    """What to say of an argument that there is not, with the nearest that there is."""
    near = _ONCE.get(name) or _nearest(name)
    hint = f"; did you mean {near!r}?" if near else ""
    return f"Trainer has no argument {name!r}{hint}"


def _nearest(name: str) -> str | None:
    """The known name that is most alike, the first of equals; else one that begins like it."""
    known = [row.name for row in (*SHOWN, *OLD)] + [row.name for row in NEVER]
    near = max(known, key=lambda one: difflib.SequenceMatcher(None, one, name).ratio())
    if difflib.SequenceMatcher(None, near, name).ratio() >= ALIKE:
        return near
    return next((one for one in known if len(name) > 2 and one.startswith(name)), None)
