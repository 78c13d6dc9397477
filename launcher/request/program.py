"""What every rank runs: a script, a module, any program, or a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.core.errors import UsageError
from launcher.core.job import Program, ProgramKind

# What the engine can stand in for; the engine has the same list.
COMPAT = ("lightning", "pytorch_lightning")


def make_program(
    kind: ProgramKind, target: str, args: Sequence[str], compat: str | None = None
) -> Program:
    """The program to run. Raises UsageError."""
    check_compat(kind, compat)
    return Program(kind, target, tuple(args), compat=compat)


def check_compat(kind: ProgramKind, compat: str | None) -> None:
    """Refuse a package that the engine can't stand in for. Raises UsageError."""
    if compat is not None and compat not in COMPAT:
        raise UsageError(f"--compat {compat!r}: the engine stands in for {' and '.join(COMPAT)}")
    if compat is not None and kind == "program":
        raise UsageError("--compat is for Python programs: leave out --no-python")


def read_function(file: str, name: str, compat: str | None = None) -> Program:
    """A function that ``launch()`` has pickled into a file of ours; it is not opened here.

    Raises UsageError for a file that somebody else could have written.
    """
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise UsageError(f"{file}: a function is read from a file of our own of mode 0600")
            return Program("function", name, (), stream.read(), compat)
    except OSError as error:
        raise UsageError(f"--function {file!r}: {error.strerror}") from error


def from_python(
    program: str | Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    compat: str | None = None,
) -> Program:
    """What ``launch()`` was given. Raises UsageError, and TypeError for arguments of a script."""
    if not callable(program):
        if kwargs:
            raise TypeError("a script takes words, not keyword arguments: give them in args")
        return make_program("script", os.fspath(program), tuple(map(str, args)), compat)
    name = getattr(program, "__name__", type(program).__name__)
    check_compat("function", compat)
    return Program("function", name, (), _pickled(program, args, kwargs), compat)


def _pickled(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any] | None
) -> bytes:
    import cloudpickle

    call = (function, tuple(args), dict(kwargs or {}))
    main = sys.modules.get("__main__")
    module = sys.modules.get(getattr(function, "__module__", ""))
    if module is None or module is main or _is_installed(module):
        return bytes(cloudpickle.dumps(call))
    # A function of a module beside the script: the nodes may not have that file.
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(call))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _is_installed(module: Any) -> bool:
    path = getattr(module, "__file__", None) or ""
    return not path or "site-packages" in path or path.startswith(sys.base_prefix)
