"""Running python, and old programs, for the tests of engine.compat."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import forkserver

ROOT = Path(__file__).parents[3]
OLD = ROOT / "tests/engine/compat/programs/old"
DEADLINE_S = 120


def real_one(folder: Path) -> Path:
    """Install a pytorch_lightning that fails loudly when it is imported; returns where."""
    package = folder / "installed" / "pytorch_lightning"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the real one was imported')\n")
    return package.parent


def run(
    words: list[str], folder: Path, path: Path | None = None, fresh: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run python with these words; `path` comes first where it looks for modules.

    `fresh`: torch has not been imported yet when the program begins.
    """
    found = [str(path)] if path else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*found, str(ROOT)])}
    env["OMP_NUM_THREADS"] = "1"
    if not fresh:
        return forkserver.shared().run(words, cwd=folder, env=env, timeout=DEADLINE_S)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def compat(words: list[str], folder: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m engine.compat pytorch_lightning words`."""
    return run(["-m", "engine.compat", "pytorch_lightning", *words], folder, **options)


def found_by(code: str, folder: Path, name: str = "pytorch_lightning", **options: Any) -> Any:
    """What a program with the names installed prints as JSON."""
    lines = f"import engine.compat, json\nengine.compat.install({name!r})\n{code}"
    done = run(["-c", lines], folder, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
