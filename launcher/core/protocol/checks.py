"""Checks of the messages that come from nodes and ranks: what their fields may hold. Pure.

Which messages there are is written down in messages.py; here is what is believed of one that comes
from another machine or another's program, before anything else is done with it. This file travels
to the nodes: standard library only.
"""

from __future__ import annotations

from launcher.core.protocol.frames import ChannelError
from launcher.core.protocol.shapes import DATA, is_text, wrong

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from typing import Any

MAX_VALUE = 16 << 20  # bytes of JSON that a rank may report
MAX_FROM_AGENT = 64 << 20
MAX_LINE = 1 << 20  # characters of a text that is none of the program's output


def _text(value: Any) -> bool:
    """Text that is meant for people: notes, problems."""
    return isinstance(value, str) and len(value) <= MAX_LINE and is_text(value)


def _word(value: Any) -> bool:
    """A name, a path or a version, which may end in an environment variable."""
    return _text(value) and len(value) <= 4096 and "\0" not in value


def _address(value: Any) -> bool:
    """An IP address as text; others will be told to connect to it."""
    if not _word(value) or len(value) > 64:
        return False
    address, _, interface = value.partition("%")  # as link-local ones have it
    return bool(address) and not set(address) - _OF_ADDRESSES and interface.isprintable()


def _process(value: Any) -> bool:
    """A process on a GPU, and its user."""
    return isinstance(value, list) and len(value) == 2 and _rank(value[0]) and _word(value[1])


def _rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def _status(value: Any) -> bool:
    """An exit code, or minus a signal."""
    return isinstance(value, int) and not isinstance(value, bool) and -128 < value < 256


def _port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


_OF_ADDRESSES = frozenset("0123456789abcdefABCDEF.:")
_NOTICES = frozenset((1, 10, 12, 15))  # what a scheduler sends: HUP, USR1, USR2, TERM
_GPU = {
    "index": int,
    "machine_index": int,
    "uuid": _word,
    "name": _word,
    "memory_total": int,
    "memory_used": int,
    "processes": [_process],
    "exclusive": bool,
    "leased": _text,
    "parent": _word,
    "mig_name": _word,
    "usable": bool,
    "problem": _text,
}
_FAILURE = {"type": _text, "message": _text, "traceback": _text, "chain": [_text]}
FROM_RANK: dict[str, dict[Any, Any]] = {
    "report": {
        "value": DATA,
        "by?": frozenset(("user", "engine", "return")),
        "not_finite?": {str: _word},
    },
    "progress": {
        "step?": (int, None),
        "epoch?": (int, None),
        "checkpoint?": (_word, None),
        "failed?": bool,
    },
    "failure": {"failure": _FAILURE},
    "phase": {"phase": _word},
}
FROM_AGENT: dict[str, dict[Any, Any]] = {
    "beat": {},
    "note": {"text": _text},
    "notice": {"number": _NOTICES},
    "found": {
        "python?": (_word, None),
        "torch?": (_word, None),
        "no_engine?": (_text, None),
        "problem?": (_text, None),
    },
    "probe": {
        "hostname": _word,
        "cores": _rank,
        "addresses": {str: [_address]},
        "reached_at": [_word],
        "time": float,
        "free_disk": (int, None),
        "workdir": bool,
        "program": (_text, None),
        "differs": [_word],
        "main": (_word, None),
        "shared": bool,
        "driver": bool,
        "user": _word,
    },
    "store": {"port": (_port, None), "problem": (_text, None), "interface?": (_word, None)},
    "reached": {
        "problem": (_text, None),
        "address": (_address, None),
        "interface": (_word, None),
    },
    "listening": {"port": (_port, None)},
    "gpus": {"gpus": [_GPU], "visible": (_text, None), "error": _text},
    "leased": {"taken": [_word], "refused": [_word]},
    "raw": {"rank": _rank, "err": bool, "text": str},
    "want": {"bytes": (int, None), "always": bool},
    "unstarted": {"rank": _rank, "problem": _text},
    "exit": {
        "rank": _rank,
        "status": _status,
        "killed": bool,
        "oom": bool,
        "memory": _text,
        "tail": [_text],
    },
    "stopped": {"attempt": _rank, "swept": _rank},
    **{kind: {**fields, "rank": _rank} for kind, fields in FROM_RANK.items()},
}
_SHAPES = {kind: {**fields, "type": _word} for kind, fields in FROM_AGENT.items()}


def from_agent(message: dict[str, Any]) -> dict[str, Any]:
    """The same message, if it is one that our agent sends. Raises ChannelError."""
    kind = message.get("type")
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise ChannelError("it sent what no agent of ours sends: a message of no known kind")
    problem = wrong(message, shape, str(kind))
    if problem:
        raise ChannelError(f"it sent what no agent of ours sends: {problem}")
    return message


def from_rank(message: dict[str, Any]) -> dict[str, Any]:
    """What of a rank's message counts. Raises ChannelError with what is wrong.

    Other fields may be there: the program's engine may be of another version than we are.
    """
    kind = message.get("type")
    fields = FROM_RANK.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise ChannelError("a message of no known kind")
    known = {key: item for key, item in message.items() if key in fields or f"{key}?" in fields}
    problem = wrong(known, fields, str(kind))
    if problem:
        raise ChannelError(problem)
    return {**known, "type": kind}
