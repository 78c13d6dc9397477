"""--gpus as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.core.gpu_spec import HOW, GpuRequest, GpuRequestError, parse

UUID = "GPU-5fd4f087-86f3-7a43-b711-4771313afc50"


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        (None, GpuRequest("auto")),
        ("0", GpuRequest("count", 0)),
        ("3", GpuRequest("count", 3)),
        (" 08 ", GpuRequest("count", 8)),
        ("all", GpuRequest("all")),
        ("free", GpuRequest("free")),
        ("free:2", GpuRequest("free", 2)),
        ("3,", GpuRequest("list", entries=("3",))),
        ("0,", GpuRequest("list", entries=("0",))),
        ("2, 0", GpuRequest("list", entries=("2", "0"))),
        ("1,02", GpuRequest("list", entries=("1", "2"))),
        (UUID, GpuRequest("list", entries=(UUID,))),
        (f"{UUID},1", GpuRequest("list", entries=(UUID, "1"))),
        ("MIG-GPU-5f/1/0", GpuRequest("list", entries=("MIG-GPU-5f/1/0",))),
    ],
)
def test_each_form_is_understood(text: str | None, request_: GpuRequest) -> None:
    """A number is a count; with a comma it is a list, so `3,` is GPU 3 alone."""
    assert parse(text) == request_


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("h1:0,1", {"h1": "0,1"}),
        ("h1:0,1;h2:2,3", {"h1": "0,1", "h2": "2,3"}),
        ("h[1-2]:4; h3:3, ;", {"h1": "4", "h2": "4", "h3": "3,"}),
        ("h1:all;h2:free;h3:free:2;h4:0", {"h1": "all", "h2": "free", "h3": "free:2", "h4": "0"}),
        (f"h1:{UUID}", {"h1": UUID}),
        ("::1:2,", {"::1": "2,"}),
    ],
)
def test_each_node_can_have_its_own(text: str, nodes: dict[str, str]) -> None:
    """Behind a node's name, which may have ranges, stands any of the forms."""
    assert parse(text) == GpuRequest(
        "per_node", nodes=tuple((name, parse(wanted)) for name, wanted in nodes.items())
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "'' is no number of GPUs"),
        ("two", "'two' is no number of GPUs"),
        ("-1", "all GPUs are called all"),
        ("1.5", "'1.5' is no number of GPUs"),
        ("free:0", "no free GPUs at all are not worth asking for"),
        ("free:x", "'x' is no number of GPUs"),
        (",", "a GPU is missing between commas"),
        ("0,,1", "a GPU is missing between commas"),
        ("0,x", "'x' is no GPU"),
        ("0,-1", "'-1' is no GPU"),
        ("0,1,00", "GPU 0 is there twice"),
        ("0 1", "'0 1' is no number of GPUs"),
        ("h1:", "'' is no number of GPUs"),
        (":1", "no node is named before ':1'"),
        ("h1:1;h[1-2]:2", "node h1 is there twice"),
        ("h1:1;;h2:1", "no node is named before ''"),
        ("h[1:2", "a '[' without its ']' at character 2 of 'h[1'"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_forms(text: str, problem: str) -> None:
    """A mistake is told with what can be written instead."""
    with pytest.raises(GpuRequestError) as raised:
        parse(text)

    assert str(raised.value) == f"--gpus {text!r}: {problem}; {HOW}"


@given(st.text(alphabet="0123,;:-[]ahfreGPUMIG l", max_size=14))
def test_any_text_is_a_request_or_the_one_error(text: str) -> None:
    """Nothing that people type ends in another kind of error, or in nothing asked for."""
    try:
        request = parse(text)
    except GpuRequestError:
        return
    assert request.kind != "auto"
    assert request.kind != "list" or request.entries
    assert request.kind != "per_node" or request.nodes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8", "8 GPUs"),
        ("1", "1 GPU"),
        ("free:2", "2 free GPUs"),
        ("free", "the free GPUs"),
        ("all", "all GPUs"),
        ("0,1", "GPU 0,1"),
        (None, "a free GPU"),
    ],
)
def test_a_request_has_words(text: str | None, words: str) -> None:
    """Messages repeat what was asked for."""
    assert str(parse(text)) == words
