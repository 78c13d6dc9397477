"""The table of what of Lightning works: made from the tests, whole, and in the docs."""

import os
from pathlib import Path

from tests.docs import rows

PAGE = Path(__file__).parents[2] / "docs/rows.md"


def test_every_row_is_shown_by_a_test() -> None:
    """No row of the API that we owe is without a test that names it."""
    without = [row for row, tests in rows.shown().items() if not tests]

    assert not without, f"{len(without)} rows: {', '.join(without)}"


def test_the_page_is_what_the_tests_say() -> None:
    """S247: one page lists all rows; PLAUNCH_WRITE_DOCS=1 writes it."""
    if os.environ.get("PLAUNCH_WRITE_DOCS"):
        PAGE.write_text(rows.table())
        return

    assert PAGE.read_text() == rows.table()


def test_rows_are_read_from_docstrings() -> None:
    """Single rows, lists and ranges at the beginning; elsewhere a number means nothing."""
    assert list(rows._named("S016, C4: once.")) == ["S016", "C4"]
    assert list(rows._named("S047-S049,\n    S060: the order")) == ["S047", "S048", "S049", "S060"]
    assert list(rows._named("As S016: once.")) == []
