"""Which programs must start in a fresh interpreter: those that set what torch's import reads."""

from __future__ import annotations

import os

from launcher.core.regular import read_regular

TYPE_CHECKING = False  # as type checkers know it; importing typing would delay every start
if TYPE_CHECKING:
    from typing import Any

# A program that sets one of these above ``import torch`` must start in a fresh interpreter: by
# the time a warm fork runs it, the import has read them.
TORCH_USERS = ("torch", "engine", "lightning", "pytorch_lightning", "accelerate", "transformers")
IMPORT_TIME = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "CUDA_", "PYTORCH_", "TORCH_")


def wants_cold(kind: str, target: str, workdir: str) -> str | None:
    """The variable that the program sets before it imports torch, if it does."""
    source = _source(kind, target, workdir)
    if not any(name in source for name in IMPORT_TIME):
        return None
    import ast

    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None  # the rank itself will say so
    imports = [getattr(n, "lineno", 0) for n in ast.walk(tree) if _imports_torch(n, ast)]
    first_import = min(imports, default=1 << 30)
    for node in ast.walk(tree):
        if getattr(node, "lineno", 1 << 30) < first_import:
            for name in _variables_set(node, ast):
                if name.startswith(IMPORT_TIME):
                    return name
    return None


def _source(kind: str, target: str, workdir: str) -> str:
    """The program's text, if it is a script or module that sets variables at all; else empty."""
    if kind not in ("script", "module"):
        return ""
    path = target if kind == "script" else target.replace(".", "/") + ".py"
    try:
        source = read_regular(os.path.join(workdir, path), follow=True).decode(errors="replace")
    except OSError:
        return ""
    return source if "environ" in source or "putenv" in source else ""


def _imports_torch(node: Any, ast: Any) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in TORCH_USERS for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in TORCH_USERS


def _variables_set(node: Any, ast: Any) -> list[str]:
    """Names of environment variables that a statement sets: by item, setdefault, update, putenv."""
    keys: list[Any] = []
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        keys = [t.slice for t in targets if isinstance(t, ast.Subscript) and _is_environ(t.value)]
        if isinstance(node, ast.AugAssign) and _is_environ(node.target):
            keys += getattr(node.value, "keys", [])
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        on_environ = _is_environ(getattr(node.func, "value", None))
        if name == "putenv" or (name == "setdefault" and on_environ):
            keys = node.args[:1]
        elif name == "update" and on_environ:
            keys = [key for arg in node.args for key in getattr(arg, "keys", [])]
            return [word.arg for word in node.keywords if word.arg] + _constants(keys)
    return _constants(keys)


def _is_environ(node: Any) -> bool:
    return "environ" in (getattr(node, "attr", ""), getattr(node, "id", ""))


def _constants(nodes: list[Any]) -> list[str]:
    return [node.value for node in nodes if isinstance(getattr(node, "value", None), str)]
