"""A rank's first page: what happens in its process before and after the user's program.

Its source runs in the rank itself, in a name space that no module table knows, so that nothing of
ours is in ``sys.modules`` when the program starts. It must therefore import only what it needs
when it needs it, and change nothing that a program can see beside what is said here: an excepthook
that reports, and rendezvous at a port of the program's own.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as type checkers know it: a program may bring a typing.py of its own
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from launcher.agent.ranks.torch_parts import watch_imports  # one name space with ours

MAX_VALUE = 16 << 20  # bytes of a returned value; the agent takes no more
OURS = ("<plaunch>", "<string>", "<frozen runpy>")


def as_json(value: Any) -> str:
    """JSON without the json package; NaN and infinities as null, what JSON lacks as text."""
    from _json import encode_basestring_ascii as quoted

    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(str(k))}:{as_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(as_json, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return float.__repr__(value) if value - value == 0 else "null"
    return int.__repr__(value) if isinstance(value, int) else str(quoted(str(value)))


def report(make: Callable[[], dict[str, Any]]) -> None:
    """Send the message that ``make`` makes to the agent; never raises.

    Several tries: a signal handler of the program may raise right here, as DataLoader's does when a
    worker is killed; and a module of the program's own may stand where ours should be.
    """
    for _ in range(3):
        try:
            send(make())
            return
        except Exception:  # a report must never hide the program's own error
            continue


def send(message: dict[str, Any]) -> None:
    """Send one message to the agent through the rank's line. Raises OSError."""
    import _socket  # the inner module: a program may have a socket.py of its own

    body = as_json(message).encode("ascii")
    line = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        line.settimeout(5)
        line.connect(os.environ["PLAUNCH_SOCKET"])
        line.sendall(len(body).to_bytes(4, "big") + body)
    finally:
        line.close()


def describe(kind: type[BaseException], error: BaseException, trace: Any) -> dict[str, Any]:
    """An exception as data: type, message, traceback, and the causes' types and messages."""
    import traceback

    chain: list[str] = []
    seen, cause = {id(error)}, error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen and len(chain) < 20:
        seen.add(id(cause))
        chain.append(f"{type(cause).__module__}.{type(cause).__qualname__}: {cause}"[:2000])
        cause = cause.__cause__ or cause.__context__
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    text = "".join(traceback.format_exception(kind, error, trace))
    return {"type": name, "message": str(error)[:10000], "traceback": text[-50000:], "chain": chain}


def program_frames(trace: Any) -> Any:
    """The traceback without our own frames at its top."""
    while trace is not None and trace.tb_frame.f_code.co_filename in OURS:
        trace = trace.tb_next
    return trace


def frames(trace: Any) -> list[Any]:
    """The frames of a traceback with their line numbers, outermost first."""
    found = []
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    return found


def is_own(frame: Any, directory: str) -> bool:
    """Whether a frame is the program's own code rather than a library's."""
    path = os.path.abspath(frame.f_code.co_filename)
    return path.startswith(directory) and "site-packages" not in path


def explain_missing(error: BaseException, directory: str) -> str | None:
    """A line for a script that wants our name but finds a module of its own, or nothing."""
    name = getattr(error, "name", None) or ""
    top = name.partition(".")[0]
    if not isinstance(error, ImportError) or top not in ("engine", "launcher"):
        return None
    found = sys.modules.get(top)
    origin = getattr(found, "__file__", None)
    if found is None and isinstance(error, ModuleNotFoundError) and name == top:
        return (
            f"plaunch: the package '{top}' is not installed for {sys.executable} on this node; "
            "install plaunch there to use it in a script"
        )
    if origin and os.path.dirname(os.path.abspath(origin)).startswith(directory):
        return (
            f"plaunch: '{top}' is your own {origin} here, not the package that comes with plaunch; "
            "rename that file to use the package"
        )
    return None


def install_excepthook(directory: str) -> None:
    """Tell the agent of an uncaught exception at the moment it is raised, then print it."""

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        trace = program_frames(trace)
        if kind is KeyboardInterrupt and trace is not None:
            # Ctrl-C interrupts every rank: a line each says where they were, not a page each.
            own = [(f.f_code.co_filename, n) for f, n in frames(trace) if is_own(f, directory)]
            file, number = own[-1] if own else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
            print(f"KeyboardInterrupt at {file}:{number}", file=sys.stderr)  # noqa: T201 - its own
            return
        error.__traceback__ = trace
        report(lambda: {"type": "failure", "failure": describe(kind, error, trace)})
        sys.__excepthook__(kind, error, trace)
        line = explain_missing(error, directory)
        if line:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the program's own stderr

    sys.excepthook = hook


def show_crashes() -> None:
    """Let a crash print its Python stack, unless the user has said what faulthandler shall do."""
    import faulthandler  # built in: no file of the program's own can stand in its place

    if "PYTHONFAULTHANDLER" not in os.environ and not faulthandler.is_enabled():
        faulthandler.enable(2, all_threads=False)


def run(
    kind: str,
    target: str,
    args: list[str],
    pickled_fd: int | None = None,
    compat: str | None = None,
) -> None:
    """Become ``python target args`` (or ``-m target``, or a function given by pickle).

    ``compat``: the engine stands in for this package.
    """
    directory = os.path.dirname(os.path.realpath(target)) if kind == "script" else os.getcwd()
    show_crashes()
    install_excepthook(directory)
    watch_imports()
    main = type(sys)("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sys.argv[:] = [target, *args]
    words = [*["-m"] * (kind == "module"), target, *args]
    if compat is not None:
        # By its name: the launcher knows nothing else of it.
        __import__("engine.compat.imports.program")
        sys.modules["engine.compat.imports.program"].stand_in(compat, directory)
        words = ["-m", "engine.compat", compat, *words]
    sys.orig_argv[:] = [sys.executable, "-u", *words]
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, directory)
    if kind == "module":
        import runpy

        sys.argv[0] = "-m"
        runpy._run_module_as_main(target, alter_argv=True)  # type: ignore[attr-defined]  # what python -m itself calls
    elif kind == "script":
        run_script(target, main)
    elif kind == "function" and pickled_fd is not None:
        run_function(pickled_fd)
    else:
        raise ValueError(f"unknown kind of program: {kind}")


def run_script(target: str, main: Any) -> None:
    """Run a file (or a folder or archive with a ``__main__.py``) as python itself does."""
    if os.path.isdir(target) or target.endswith((".zip", ".pyz")):
        import runpy

        sys.path[0] = os.path.join(os.getcwd(), target)
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]  # as python itself does
        return
    target = os.path.join(os.getcwd(), target)
    # importlib.machinery by its inner name: a program may bring an importlib of its own.
    loader = sys.modules["_frozen_importlib_external"].SourceFileLoader("__main__", target)
    main.__dict__.update(__file__=target, __loader__=loader, __cached__=None, __spec__=None)
    with open(target, "rb") as file:
        source = file.read()
    code = compile(source, target, "exec", dont_inherit=True)
    exec(code, main.__dict__)


def run_function(pickled_fd: int) -> None:
    """Call the function that ``launch()`` was given and report what it returns, if it does.

    One that returns nothing leaves what it has reported, or the engine for it.
    """
    import pickle

    with os.fdopen(pickled_fd, "rb") as file:
        # From our own launcher through the authenticated channel, opened in the rank only.
        function, args, kwargs = pickle.load(file)
    value = function(*args, **kwargs)
    try:
        import json

        json.dumps(value)
    except (TypeError, ValueError):
        value = plain(value)
    size = len(as_json(value))
    if size > MAX_VALUE:
        raise ValueError(
            f"the function returned {size >> 20} MiB as JSON, and 16 MiB is the most: save it to a "
            "file and return the path"
        )
    if value is not None:
        odd = dict(not_finite(value))
        report(lambda: {"type": "report", "by": "return", "value": value, "not_finite": odd})


def not_finite(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Where in a value there are numbers that JSON lacks, and which."""
    if isinstance(value, dict):
        parts = [(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
        return [found for key, item in parts for found in not_finite(item, key)]
    if isinstance(value, float) and value - value != 0:
        return [(name or "the value", repr(value))]
    return []


def plain(value: Any) -> Any:
    """Tensors and numpy values as numbers and lists; anything else that JSON lacks is an error."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"the function returned a {type(value).__name__}, which is no JSON data: "
        "return numbers, strings, lists and dicts, or save it to a file and return the path"
    )
