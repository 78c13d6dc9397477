"""Nothing is kept that nobody uses: what vulture finds, less what is used by its name alone."""

from __future__ import annotations

import re
from pathlib import Path

from vulture import Vulture

ROOT = Path(__file__).parents[2]
FOLDERS = ("launcher", "engine", "plaunch", "tests", "benchmarks", "examples")

# By name, and what uses it.
USED = {
    "__class__": "isinstance of a stand-in",
    "__dir__": "dir()",
    "_after_": "the bar attaches what its settings ask for",
    "_tuple _frozenset _Size _complex _namespace _sparse _enum": "plain_data, by the kind of data",
    "create_module get_source": "the import system and tracebacks",
    "find_class persistent_load": "pickle's Unpickler",
    "host_store": "the text that an interpreter runs (launcher/agent/ranks/processes.py)",
    "move_data_to_device": "Lightning's name, by the tables of engine/compat",
    "set_postfix_str": "tqdm's interface",
}


def test_nothing_is_unused() -> None:
    """Functions, classes and methods of ours have a use, or belong to the public API."""
    public = set(re.findall(r"\w+", (ROOT / "tests/engine/public_api.txt").read_text()))
    by_name = tuple(name for names in USED for name in names.split())
    vulture = Vulture()
    vulture.scavenge([str(ROOT / folder) for folder in FOLDERS])
    unused = []
    for item in vulture.get_unused_code(min_confidence=60):
        path = Path(item.filename).relative_to(ROOT)
        if path.parts[0] not in ("launcher", "engine", "plaunch"):
            continue
        if path.parts[:2] == ("engine", "compat"):  # names that old programs ask for
            continue
        if item.typ in ("variable", "attribute"):  # arguments that an interface prescribes
            continue
        if item.name in public or item.name.startswith(("on_", *by_name)):
            continue
        unused.append(f"{path}:{item.first_lineno} {item.typ} {item.name}")

    assert unused == []
