"""Node lists: short forms to names, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core.nodelist import MAX_NAMES, NodeListError, expand, fold, natural_key

NAMES = st.lists(
    st.one_of(
        st.from_regex(r"[a-z]{1,2}[0-9]{0,3}(-[a-z]?[0-9]{0,2})?", fullmatch=True),
        st.integers(0, 120).map(lambda n: f"host{n}"),
        st.integers(0, 120).map(lambda n: f"host{n:03}"),
        st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda p: f"r{p[0]}n{p[1]}-ib"),
    )
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (" host ", ["host"]),
        ("a, b ,c", ["a", "b", "c"]),
        ("gpu[01-03,7]", ["gpu01", "gpu02", "gpu03", "gpu7"]),
        ("n[8-11]", ["n8", "n9", "n10", "n11"]),
        ("n[098-101]", ["n098", "n099", "n100", "n101"]),
        ("n[98-101]x", ["n98x", "n99x", "n100x", "n101x"]),
        ("gpu[1,2],login-a[1-2]", ["gpu1", "gpu2", "login-a1", "login-a2"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("[ 1 - 2 , 5 ]", ["1", "2", "5"]),
        ("b,a,b", ["b", "a", "b"]),
        ("10.0.0.[1-2]", ["10.0.0.1", "10.0.0.2"]),
    ],
)
def test_expand_gives_the_names_in_the_order_written(text: str, names: list[str]) -> None:
    """Brackets, zero padding, several brackets in a name, commas and spaces around them."""
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "problem", "character"),
    [
        ("a[1-2", "a '[' without its ']'", 2),
        ("a1-2]", "a ']' without its '['", 5),
        ("a[[1]]", "a '[' without its ']'", 2),
        ("a[]", "not a number or a range: ''", 3),
        ("a[1,x]", "not a number or a range: 'x'", 5),
        ("a[1-2-3]", "not a number or a range: '1-2-3'", 3),
        ("a[3-1]", "a range that runs backwards: '3-1'", 3),
        ("a[1-010]", "numbers of different widths: '1-010'", 3),
        ("host [1-2]", "a space within a name (a comma is missing?)", 5),
        (",a", "a comma without a name before it", 1),
        ("a,,b", "a comma without a name before it", 3),
        ("a,", "a comma without a name after it", 2),
        ("a[1-100001]", "more than 100,000 names", 1),
        ("b,a[1-999999999999999999]", "more than 100,000 names", 3),
        ("a[1-1000][1-1000]", "more than 100,000 names", 1),
        ("x" * 256, "a name of more than 255 characters", 1),
    ],
)
def test_an_error_says_what_and_where(text: str, problem: str, character: int) -> None:
    """What can't be read is one line with the position; nothing is guessed."""
    with pytest.raises(NodeListError) as raised:
        expand(text)

    assert str(raised.value) == f"{problem} at character {character} of {text!r}"


def test_as_many_names_as_allowed_are_expanded() -> None:
    """The bound itself is still good."""
    assert len(expand(f"n[1-{MAX_NAMES}]")) == MAX_NAMES


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["host1"], "host1"),
        (["host4", "host2", "host1", "host3", "host1"], "host[1-4]"),
        (["host1", "host2", "host3", "host7"], "host[1-3,7]"),
        (["n08", "n09", "n10", "n1"], "n[1,08-10]"),
        (["node1-ib0", "node2-ib0"], "node[1-2]-ib0"),
        (["r1n1", "r1n2", "r2n1", "r2n2"], "r1n[1-2],r2n[1-2]"),
        (["login", "gpu1", "gpu2"], "gpu[1-2],login"),
    ],
)
def test_fold_writes_a_set_of_names_shortly(names: list[str], text: str) -> None:
    """Neighbours that differ in one number share a bracket."""
    assert fold(names) == text


@given(NAMES)
def test_expand_is_the_inverse_of_fold(names: list[str]) -> None:
    """Folding loses no name, adds none, and keeps the natural order."""
    assert expand(fold(names)) == sorted(set(names), key=natural_key)


@given(st.text(alphabet="ab019[]-, ", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever people type gives names without brackets, or the one kind of error."""
    try:
        names = expand(text)
    except NodeListError as error:
        assert 0 <= error.position < len(text)
    else:
        assert not any(set(name) & set("[], ") or not name for name in names)


def test_names_sort_as_people_count() -> None:
    """node2 comes before node10, and node01 and node1 always in the same order."""
    names = ["node10", "node2", "node1", "node01", "login"]

    assert sorted(names, key=natural_key) == ["login", "node01", "node1", "node2", "node10"]
    assert sorted(reversed(names), key=natural_key) == sorted(names, key=natural_key)
