"""`python -m engine.compat NAME script.py args`: become `python script.py args`, with the names."""

from __future__ import annotations

import os
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType, TracebackType
from typing import NoReturn

from engine.compat.imports.finder import NAMES, install

USAGE = """\
usage: python -m engine.compat NAME script.py [args]
       python -m engine.compat NAME -m module [args]

Runs a program that was written for Lightning on the engine. NAME is {names}.
"""
_COMPAT = os.path.dirname(os.path.dirname(__file__))
OURS = (__file__, os.path.join(_COMPAT, "__main__.py"), "<frozen runpy>")


def main() -> None:
    """Run what the command line says."""
    words = sys.argv[1:]
    usage = USAGE.format(names=" or ".join(sorted(NAMES)))
    if words[:1] in (["-h"], ["--help"]):
        sys.stdout.write(usage)
        return
    is_module = words[1:2] == ["-m"]
    name, program = (words[:1] or [""])[0], words[2:] if is_module else words[1:]
    if name not in NAMES or not program:
        _refuse(usage if not program else f"engine.compat: unknown name {name!r}\n{usage}")
    if not is_module and not os.path.exists(program[0]):
        _refuse(f"engine.compat: can't open {program[0]!r}: no such file (in {os.getcwd()})\n")
    folder = os.getcwd() if is_module else os.path.dirname(os.path.realpath(program[0]))
    try:
        stand_in(name, folder)
    except ImportError as error:
        _refuse(f"engine.compat: {error}\n")
    sys.excepthook = _show
    main_module = ModuleType("__main__")
    main_module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main_module
    sys.argv[:] = program
    if is_module:
        import runpy

        sys.argv[0] = "-m"
        runpy._run_module_as_main(program[0])  # type: ignore[attr-defined]  # what python -m calls
    else:
        _run_script(program[0], main_module)


def stand_in(name: str, folder: str) -> None:
    """Install the names for a program that lies in `folder`. Raises ImportError where it can't."""
    own = own_engine(folder)
    if own is not None:
        raise ImportError(
            f"{own} is called `engine`, as the package that stands in for {name} is: rename it, to "
            f"run this program without {name}"
        )
    install(name)


def _run_script(target: str, main_module: ModuleType) -> None:
    folder = os.path.dirname(os.path.realpath(target))
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder  # `python -m` had put the working folder there
    path = os.path.join(os.getcwd(), target)
    loader = SourceFileLoader("__main__", path)
    main_module.__dict__.update(__file__=path, __loader__=loader, __cached__=None, __spec__=None)
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, main_module.__dict__)


def own_engine(folder: str) -> str | None:
    """A module beside a script that has our name, and is another."""
    import engine

    ours = os.path.dirname(os.path.abspath(str(engine.__file__)))
    for name in ("engine.py", os.path.join("engine", "__init__.py")):
        path = os.path.join(folder, name)
        if os.path.exists(path) and os.path.dirname(os.path.abspath(path)) != ours:
            return path
    return None


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an uncaught exception as the program alone would have it."""
    while trace is not None and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def _refuse(message: str) -> NoReturn:
    sys.stderr.write(message)
    raise SystemExit(2)
