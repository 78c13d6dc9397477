"""Tracebacks and stacks for people: whose frames are shown, and which last lines are a stack."""

from __future__ import annotations

from launcher.core.console.traces import folded, package_of, split_stack

SITE = "/opt/env/lib/python3.12/site-packages"
TRACE = f"""\
Traceback (most recent call last):
  File "/home/me/data.py", line 3, in load
    return torch.load(path)
           ^^^^^^^^^^^^^^^^
  File "{SITE}/torch/serialization.py", line 1, in load
    a
  File "{SITE}/torch/serialization.py", line 2, in inner
    b
RuntimeError: broken

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/me/train.py", line 9, in <module>
    trainer.fit(net)
  File "{SITE}/engine/trainer/trainer.py", line 1, in fit
    self._fit()
  File "{SITE}/engine/loops/fit.py", line 2, in run
    step()
    ^^^^^^
  [Previous line repeated 3 more times]
  File "/opt/env/lib/python3.12/contextlib.py", line 5, in inner
    return func()
  File "{SITE}/torch/nn/modules/module.py", line 3, in _call_impl
    return forward()
  File "/home/me/train.py", line 5, in training_step
    raise KeyError("x") from error
KeyError: 'x'
  a second line of the message"""


def test_the_users_frames_are_shown() -> None:
    """One line for each run of frames of engine, torch and Python; the rest is as it was."""
    assert folded(TRACE) == [
        "Traceback (most recent call last):",
        '  File "/home/me/data.py", line 3, in load',
        "    return torch.load(path)",
        "           ^^^^^^^^^^^^^^^^",
        "  ... 2 frames in torch",
        "RuntimeError: broken",
        "",
        "The above exception was the direct cause of the following exception:",
        "",
        "Traceback (most recent call last):",
        '  File "/home/me/train.py", line 9, in <module>',
        "    trainer.fit(net)",
        "  ... 4 frames in engine and python and torch",
        '  File "/home/me/train.py", line 5, in training_step',
        '    raise KeyError("x") from error',
        "KeyError: 'x'",
        "  a second line of the message",
    ]


def test_without_frames_of_the_user_nothing_is_left_out() -> None:
    """Or the traceback would say nothing; text that is no traceback stays as it is."""
    lines = TRACE.splitlines()[4:9]
    assert folded("\n".join(lines)) == lines
    assert folded("SyntaxError: x\n\n  y") == ["SyntaxError: x", "", "  y"]


def test_groups_of_exceptions() -> None:
    """Their frames stand behind bars."""
    text = f"""\
  + Exception Group Traceback (most recent call last):
  |   File "/home/me/a.py", line 1, in <module>
  |     f()
  |   File "{SITE}/torch/x.py", line 1, in f
  |     g()
  | ExceptionGroup: two (2 sub-exceptions)
  +-+---------------- 1 ----------------"""
    assert folded(text)[3] == "  |   ... 1 frame in torch"
    assert len(folded(text)) == 6


def test_whose_a_file_is() -> None:
    """A program's own engine.py, and packages that are neither torch nor ours, are the user's."""
    assert package_of(f"{SITE}/torch/_ops.py") == "torch"
    assert package_of(
        __file__.replace("tests/launcher/core/test_traces.py", "engine/trainer/trainer.py")
    ) == ("engine")
    for file in ("/home/me/engine.py", "/home/me/torch/x.py", f"{SITE}/timm/models.py", "<cell>"):
        assert package_of(file) is None, file


CRASH = [
    "epoch 3",
    "Fatal Python error: Segmentation fault",
    "",
    "Stack (most recent call first):",
    '  File "/home/me/train.py", line 4 in inner',
    "a line of another thread",
    '  File "/home/me/train.py", line 9 in <module>',
    '  File "<plaunch>", line 214 in run_script',
    '  File "<string>", line 7 in <module>',
    "",
    "Extension modules: torch._C (total: 1)",
    "after it",
]


def test_a_crashs_stack_is_told_from_last_lines() -> None:
    """Nothing else is lost, and our own frames are left out."""
    rest, stack = split_stack(CRASH)
    assert rest == ["epoch 3", "a line of another thread", "after it"]
    assert stack.splitlines() == [
        "Fatal Python error: Segmentation fault",
        "Stack (most recent call first):",
        '  File "/home/me/train.py", line 4 in inner',
        '  File "/home/me/train.py", line 9 in <module>',
    ]
    assert split_stack(["a", ""]) == (["a", ""], "")
