"""docs/architecture.md leads to files and functions that are there, and draws today's contracts."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "architecture.md"
TEXT = PAGE.read_text(encoding="utf-8")
LINK = r"\]\((?!https?:|#)([^)#]+)[^)]*\)"
FUNCTION = r"`([\w.]+)\(\)`"


def items() -> list[str]:
    """Lines and list items, each with the indented lines that belong to it."""
    return re.sub(r"\n +(?=\S)", " ", TEXT).splitlines()


def named() -> Iterator[tuple[str, str]]:
    """Every link to a Python file with the name of a function that follows it in its item."""
    for item in items():
        link = ""
        for found in re.finditer(f"{LINK}|{FUNCTION}", item):
            link = found[1] or link
            if found[2] and link.endswith(".py"):
                yield link, found[2].rpartition(".")[2]


def walks() -> dict[str, list[str]]:
    """The numbered steps under each heading of the walks."""
    part = TEXT.partition("\n## Five walks\n")[2].partition("\n## ")[0]
    found = {}
    for section in part.split("\n### ")[1:]:
        title, _, body = section.partition("\n")
        lists = re.split(r"^1\. ", body, flags=re.M)[1:]
        for number, steps in enumerate(lists, 1):
            found[f"{title} ({number})"] = re.split(r"\n\d+\. ", steps)
    return found


def picture() -> ModuleType:
    """docs/picture.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("picture", DOCS / "picture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_leads_to_a_file_or_folder() -> None:
    """Relative to the page, as a browser reads them."""
    links = re.findall(LINK, TEXT)

    assert len(links) > 50
    assert [link for link in links if not (DOCS / link).exists()] == []


@pytest.mark.parametrize(("link", "name"), sorted(set(named())))
def test_a_function_is_defined_in_the_file_that_it_is_named_with(link: str, name: str) -> None:
    """A function or method that moves or gets another name takes its place in the page along."""
    assert re.search(rf"^ *(async )?def {name}\b", (DOCS / link).read_text(), flags=re.M)


@pytest.mark.parametrize("walk", sorted(walks()))
def test_no_step_of_a_walk_goes_back_into_a_file(walk: str) -> None:
    """Save for messages from other processes and callbacks, which the page marks as such."""
    steps = walks()[walk]
    marked = [step.startswith(("*Message:*", "*Callback:*")) for step in steps]
    files = [re.findall(LINK, step) for step in steps]
    back = [
        link
        for index, links in enumerate(files)
        for link in links
        if not marked[index] and any(link in before for before in files[:index])
    ]

    assert back == []


def test_the_picture_is_what_the_contracts_say() -> None:
    """`make picture` writes it, from pyproject.toml and the packages' docstrings."""
    made = picture()
    shown = TEXT.partition(made.BEGIN)[2].partition(made.END)[0]

    assert shown.startswith("```mermaid\n")
    assert shown == made.block()
