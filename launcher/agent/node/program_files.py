"""The files of a user's program: the script or module, and what it imports from beside it.

Read as far as imports tell by their words; nothing is imported. With it goes the comparison of two
copies of a program: on the machine of the launcher, and on a node that shares no folder with it.
"""

from __future__ import annotations

import os
import sys

from launcher.core.regular import read_regular

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

MOST_FILES = 200  # are read of a program
MOST_BYTES = 1 << 20  # are read of a file; of a longer one the size counts, too
MOST_NAMED = 5
MAIN = ""  # what the program's own file is called among its files: each machine knows its path


def program_folder(kind: str, target: str, workdir: str) -> str | None:
    """The folder whose modules win over installed ones."""
    if kind == "script":
        return os.path.dirname(os.path.realpath(os.path.join(workdir, target)))
    return workdir if kind == "module" else None


def own_files(kind: str, target: str, workdir: str) -> Iterator[tuple[str, bytes]]:
    """Path and text of the script and of what it imports from beside it, and so on."""
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
            text = read_regular(path, MOST_BYTES, follow=True)
        except OSError:
            continue
        yield path, text
        for name in _imported(text):
            folder = os.path.dirname(path) if name.startswith(b".") else base
            waiting += [p for p in _candidates(name.lstrip(b"."), folder) if p not in seen]


def digests(kind: str, target: str, workdir: str) -> dict[str, str]:
    """A digest of each file of the program, by its path below the program's folder.

    Empty for what is no file of this machine (an installed module, a program in PATH).
    """
    if kind == "program":
        files = [os.path.join(workdir, target)] if "/" in target else []
    else:
        files = [path for path, _ in own_files(kind, target, workdir)]
    main = os.path.join(workdir, target)
    base = program_folder(kind, target, workdir) or workdir
    found = {}
    for path in files:
        name = MAIN if path == main else os.path.relpath(path, base)
        found[name] = digest(path)
    return {name: text for name, text in found.items() if text is not None}


def compared(
    expected: Mapping[str, str] | None, kind: str, target: str, workdir: str
) -> dict[str, Any]:
    """The program's files here beside those of the launcher's machine, for the probe.

    ``differs`` names those that are others here; one that is missing is none of them. Where the
    launcher has no such file, the nodes are compared, by ``main``. None: all is one machine.
    """
    result: dict[str, Any] = {"differs": [], "main": None}
    if expected:
        result["differs"] = differing(expected, kind, target, workdir)[:MOST_NAMED]
    elif expected is not None and (kind == "script" or "/" in target):
        result["main"] = digest(os.path.join(workdir, target))
    return result


def differing(expected: Mapping[str, str], kind: str, target: str, workdir: str) -> list[str]:
    """Which of these files have another content here."""
    base = program_folder(kind, target, workdir) or workdir
    names = []
    for name, text in expected.items():
        path = os.path.join(workdir, target) if name == MAIN else os.path.join(base, name)
        if digest(path) not in (None, text):
            names.append(target if name == MAIN else name)
    return names


def digest(path: str) -> str | None:
    """A file's size and the SHA-256 of its first megabyte; None if it can't be read."""
    try:
        # Not to wait for ever at a pipe that somebody put there.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return f"{os.fstat(file.fileno()).st_size}:{_sha256(file.read(MOST_BYTES))}"
    except OSError:
        return None


def _sha256(data: bytes) -> str:
    """By the inner module: hashlib takes longer to import than this takes."""
    try:
        sha256 = __import__("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256
    except ImportError:  # not every make of Python has them
        from hashlib import sha256
    text: str = sha256(data).hexdigest()
    return text


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
