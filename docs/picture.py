"""Draw the packages in docs/architecture.md from the import contracts in pyproject.toml.

`python docs/picture.py` (or `make picture`) rewrites what is between the two markers of the page: a
Mermaid chart of the layers, and the first sentence of each package's docstring. tomllib came with
Python 3.11; on 3.10 the package tomli is needed, which has the same functions.
"""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path
from typing import Any

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- picture: written by docs/picture.py -->\n"
END = "<!-- /picture -->"


def contracts() -> dict[str, Any]:
    """The settings of import-linter."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings: dict[str, Any] = tomllib.loads(text)["tool"]["importlinter"]
    return settings


def layers(settings: dict[str, Any], package: str) -> list[list[str]]:
    """The layers of a package, the highest first; members of one layer stand beside each other."""
    (contract,) = [one for one in settings["contracts"] if one.get("containers") == [package]]
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def chart(settings: dict[str, Any]) -> list[str]:
    """The lines of the Mermaid chart: one box a package, an arrow from each layer to the next."""
    lines = ["```mermaid", "flowchart LR"]
    for package in settings["root_packages"]:
        rows = layers(settings, package)
        boxes = [" & ".join(f'{package}_{name}["{name}"]' for name in row) for row in rows]
        lines += [f"    subgraph {package}", "        direction TB"]
        lines += [f"        {upper} --> {lower}" for upper, lower in pairwise(boxes)]
        lines += ["    end"]
    for contract in settings["contracts"]:
        if contract["type"] == "independence":
            lines.append(f'    {contract["modules"][0]} -.-|"no imports"| {contract["modules"][1]}')
    return [*lines, "```"]


def purpose(package: str, name: str) -> tuple[str, str]:
    """Where a package (or a single module) is, and the first sentence of its docstring."""
    folder = ROOT / package / name
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    where = f"{package}/{name}" if folder.is_dir() else f"{package}/{name}.py"
    return where, text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def block() -> str:
    """All that stands between the markers."""
    settings = contracts()
    lines = chart(settings)
    for package in settings["root_packages"]:
        names = [name for row in layers(settings, package) for name in row]
        lines += ["", f"Packages of `{package}`, the highest layer first:", ""]
        for where, text in [purpose(package, name) for name in names]:
            lines.append(f"* [{where}](../{where}): {text}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{block()}{END}{rest.partition(END)[2]}", encoding="utf-8")
