"""Whether a program's ranks may need torch's compiler at once: then the node imports it for all.

The first optimizer and DistributedDataParallel import ``torch._dynamo``, which takes longer than
importing torch, on every rank. The engine does without on a torch that it can answer; on another
the fork server imports it once. Whether a program is one of the engine's its words tell: it is read
as far as it lies beside the script. Programs of torch itself import by themselves, as they would
without us: of eight such ranks, forked from a server that had imported it, one was seen not to end.
"""

from __future__ import annotations

import os

from launcher.regular import read_regular

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NEVER, UNLESS_ENGINE = "never", "unless the engine does without"

ENGINE = (b"import engine", b"from engine", b'"engine"', b"'engine'", b"engine.trainer")
PICKLED_ENGINE = b"\x8c\x06engine"  # as pickle writes a name of six letters
MOST_FILES = 200  # are read of a program


def program_folder(kind: str, target: str, workdir: str) -> str | None:
    """The folder whose modules win over installed ones."""
    if kind == "script":
        return os.path.dirname(os.path.realpath(os.path.join(workdir, target)))
    return workdir if kind == "module" else None


def wants_compiler(
    kind: str, target: str, args: Sequence[str], workdir: str, pickled: bytes, compat: str | None
) -> str:
    """When the fork server shall import the compiler before it makes ranks of this program."""
    texts = [pickled, b" ".join(os.fsencode(arg) for arg in args)]
    if kind in ("script", "module"):
        texts += _own_files(kind, target, workdir)
    text = b"\n".join(texts)
    is_engines = compat is not None or any(word in text for word in (*ENGINE, PICKLED_ENGINE))
    return UNLESS_ENGINE if is_engines else NEVER


def _own_files(kind: str, target: str, workdir: str) -> Iterator[bytes]:
    """The texts of the script and of what it imports from beside it, and so on."""
    base = program_folder(kind, target, workdir) or workdir
    if kind == "script":
        path = os.path.join(workdir, target)
        waiting = [os.path.join(path, "__main__.py") if os.path.isdir(path) else path]
    else:
        waiting = list(_candidates(target.encode(), base))
    seen: set[str] = set()
    while waiting and len(seen) < MOST_FILES:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            text = read_regular(path, 1 << 20, follow=True)
        except OSError:
            continue
        yield text
        for name in _imported(text):
            folder = os.path.dirname(path) if name.startswith(b".") else base
            waiting += [p for p in _candidates(name.lstrip(b"."), folder) if p not in seen]


def _imported(text: bytes) -> Iterator[bytes]:
    """Dotted names in import statements, wherever they stand."""
    for line in text.splitlines():
        words = line.replace(b",", b" ").replace(b"(", b" ").split()
        if words[:1] == [b"import"]:
            yield from words[1:]
        elif words[:1] == [b"from"] and len(words) > 3:
            yield words[1]
            between = b"" if words[1].endswith(b".") else b"."
            yield from (words[1] + between + name for name in words[3:])


def _candidates(name: bytes, folder: str) -> Iterator[str]:
    """Files that a dotted name may stand for below a folder, the packages on the way included."""
    try:
        parts = name.decode().split(".")
    except UnicodeDecodeError:
        return
    for end in range(1, len(parts) + 1):
        path = os.path.join(folder, *parts[:end])
        for file in (path + ".py", os.path.join(path, "__init__.py"), path + "/__main__.py"):
            if os.path.isfile(file):
                yield file
