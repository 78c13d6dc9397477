"""Hyper-parameters: wherever they are saved from, they are the arguments of the constructor."""

from __future__ import annotations

import functools
import inspect
import warnings
from argparse import Namespace
from dataclasses import InitVar, dataclass, field
from typing import Any

import attr
import pytest
import torch

from engine import LightningDataModule, LightningModule, MisconfigurationException
from tests.engine.support.toy import quiet


class Net(LightningModule):
    """What the modules of these tests have in common."""

    def made(self):
        self.layer = torch.nn.Linear(2, 2)

    def test_step(self, batch, batch_idx):
        pass


@dataclass(eq=False)
class OfDataclass(Net):
    lr: float
    width: int = 3
    sizes: list = field(default_factory=lambda: [1, 2])
    seed: InitVar[int] = 5

    def __post_init__(self, seed):
        super().__init__()
        self.save_hyperparameters()
        self.made()


@attr.s(eq=False, auto_attribs=True)
class OfAttrs(Net):
    lr: float
    width: int = 3
    sizes: list = attr.Factory(lambda: [1, 2])

    def __attrs_pre_init__(self):
        super().__init__()

    def __attrs_post_init__(self):
        self.save_hyperparameters()
        self.made()


class InMethod(Net):
    def __init__(self, lr, width=3):
        super().__init__()
        self.remember()
        self.made()

    def remember(self):
        self.deeper()

    def deeper(self):
        self.save_hyperparameters()


class Saves:
    """A mixin whose `__init__` knows no arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters()


class Plain(Net):
    def __init__(self, lr, width=3):
        super().__init__()
        self.made()


class Mixed(Saves, Plain):
    pass


class MixedWithInit(Saves, Net):
    def __init__(self, lr, width=3):
        super().__init__()
        self.made()


class Base(Net):
    def __init__(self, hidden=2, **rest):
        super().__init__()
        self.save_hyperparameters()
        self.made()


class OfBase(Base):
    """Only the base saves, and it gets an argument that the class made up."""

    def __init__(self, lr, width=3):
        super().__init__(hidden=width * 2)


class HandsOn(InMethod):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def wrapping(init):
    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        init(self, *args, **kwargs)

    return wrapper


def not_wrapping(init):
    def inner(*args, **kwargs):
        return init(*args, **kwargs)

    return inner


def saving(init):
    @functools.wraps(init)
    def wrapper(self, *given, **named):
        init(self, *given, **named)
        self.save_hyperparameters()

    return wrapper


def saving_unnamed(init):
    def inner(self, *given, **named):
        init(self, *given, **named)
        self.save_hyperparameters()

    return inner


def decorated(decorator, saves):
    class Decorated(Net):
        @decorator
        def __init__(self, lr, width=3):
            super().__init__()
            if saves:
                self.save_hyperparameters()
            self.made()

    return Decorated


def of_factory():
    class Made(InMethod):
        @classmethod
        def build(cls, *args, **options):
            return cls(*args, **options)

    return Made


class WithFrame(Net):
    def __init__(self, lr, width=3):
        super().__init__()
        keep(self, inspect.currentframe())
        self.made()


def keep(module, frame):
    module.save_hyperparameters(frame=frame)


class ByName(Net):
    def __init__(self, lr, width=3):
        super().__init__()
        self.remember(width)
        self.made()

    def remember(self, width):
        self.save_hyperparameters("lr", "width")


class Ignores(Net):
    def __init__(self, lr, width=3, secret=1):
        super().__init__()
        self.save_hyperparameters(ignore="secret")
        self.made()


KINDS = [
    OfDataclass,
    OfAttrs,
    InMethod,
    Mixed,
    MixedWithInit,
    OfBase,
    HandsOn,
    decorated(wrapping, True),
    decorated(not_wrapping, True),
    decorated(saving, False),
    decorated(saving_unnamed, False),
    of_factory(),
    WithFrame,
    ByName,
    Ignores,
]


def saved(folder, model, **data):
    """The file of a module's checkpoint."""
    trainer = quiet(folder)
    trainer.test(model, [0], verbose=False, **data)
    trainer.save_checkpoint(folder / "a.ckpt")
    return folder / "a.ckpt"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
@pytest.mark.parametrize(("args", "named"), [((0.5, 4), {}), ((), {"lr": 0.5, "width": 4})])
def test_they_are_the_arguments_of_the_constructor(tmp_path, kind, args, named):
    """By position or by name; and a module that is loaded has the same ones."""
    model = getattr(kind, "build", kind)(*args, **named)
    assert (model.hparams.get("lr"), model.hparams.get("width")) == (0.5, 4)
    assert model.hparams.get("sizes", [1, 2]) == [1, 2]
    path = saved(tmp_path, model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = kind.load_from_checkpoint(path)
    assert loaded.hparams == model.hparams


def test_arguments_without_a_name(tmp_path):
    """`*layers` come back as they were given."""

    class Layers(Net):
        def __init__(self, lr, *layers, bias=True):
            super().__init__()
            self.save_hyperparameters()
            self.given = layers
            self.made()

    loaded = Layers.load_from_checkpoint(saved(tmp_path, Layers(0.5, 3, 4, bias=False)))
    assert (loaded.given, loaded.hparams.bias) == ((3, 4), False)
    loaded = Layers.load_from_checkpoint(saved(tmp_path, Layers(0.5)))
    assert (loaded.given, loaded.hparams.lr) == ((), 0.5)


@pytest.mark.parametrize("kind", [Namespace, dict])
@pytest.mark.parametrize("data", [False, True])
def test_one_object_of_all_arguments(tmp_path, kind, data):
    """Saved in a helper method: module and data module get the object back."""

    def __init__(self, args, other=1):
        super(type(self), self).__init__()
        self.remember(args)
        self.layer = torch.nn.Linear(2, 2)

    def remember(self, args):
        self.save_hyperparameters(args)
        self.args = args

    members: dict[str, Any] = {"__init__": __init__, "remember": remember}
    cls = type("Whole", (LightningDataModule if data else Net,), members)
    owner = cls(kind(lr=0.5, width=4))
    given = {"datamodule": owner} if data else {}
    if data:
        owner.test_dataloader = lambda: [0]
        trainer = quiet(tmp_path)
        trainer.test(Plain(0.1), verbose=False, **given)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        path = tmp_path / "a.ckpt"
    else:
        path = saved(tmp_path, owner)
    loaded = cls.load_from_checkpoint(path)
    assert loaded.args == owner.args
    assert loaded.hparams == {"lr": 0.5, "width": 4}


class Late(Plain):
    """It saves nothing while it is made."""

    def test_step(self, batch, batch_idx):
        self.save_hyperparameters()


def test_arguments_that_cannot_be_found_are_an_error(tmp_path):
    """Out of `__init__`, or by a name that is none of its arguments: it says what to do."""
    message = r"arguments \(lr, width\) can't be found.*Call it in __init__"
    with pytest.raises(MisconfigurationException, match=message):
        Plain(0.5).save_hyperparameters()
    with pytest.raises(MisconfigurationException, match=message):
        Plain(0.5).save_hyperparameters("lr")
    with pytest.raises(MisconfigurationException, match=message):
        quiet(tmp_path).test(Late(0.5), [0], verbose=False)
    late = Plain(0.5)
    late.save_hyperparameters({"lr": 0.5})
    assert late.hparams == {"lr": 0.5}
    Net().save_hyperparameters()  # there is none

    class Misnamed(Net):
        def __init__(self, lr):
            super().__init__()
            self.save_hyperparameters("rate")

    with pytest.raises(MisconfigurationException, match=r"'rate' is no argument.*has lr"):
        Misnamed(1)


class Optional(Net):
    def __init__(self, lr=0.1, width=3):
        super().__init__()
        self.made()


class Part(Net):
    def __init__(self, lr=0.1, width=3):
        super().__init__()
        self.save_hyperparameters(ignore=["width"])
        self.made()


def test_no_module_is_made_of_defaults_in_silence(tmp_path):
    """What the checkpoint lacks and has a default is named; what has none is an error."""
    path = saved(tmp_path, Optional(0.5, 4))
    with pytest.warns(
        UserWarning, match=r"the default of lr, width.*load_from_checkpoint\(path, l"
    ):
        Optional.load_from_checkpoint(path)
    with pytest.raises(TypeError, match=r"'lr'.*Plain.load_from_checkpoint\(path, name=value\)"):
        Plain.load_from_checkpoint(saved(tmp_path, Plain(0.5)), width=3)
    part = saved(tmp_path, Part(0.5, 4))
    with pytest.warns(UserWarning, match=r"the default of width, which"):
        assert Part.load_from_checkpoint(part).hparams.lr == 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Part.load_from_checkpoint(part, width=4)
        Part.load_from_checkpoint(saved(tmp_path, Part(0.5)))  # it had the default


class Old(Net):
    def __init__(self, lr=0.1, width=3):
        super().__init__()
        self.save_hyperparameters()
        self.made()


class Renamed(Net):
    def __init__(self, rate=0.1, width=3):
        super().__init__()
        self.made()


def test_an_argument_that_has_another_name_now_is_said(tmp_path):
    """Its default is not taken in silence for the value that the checkpoint holds."""
    path = saved(tmp_path, Old(0.5, 3))
    with pytest.warns(UserWarning, match=r"no argument lr, which.*path, rate=\.\.\.\)"):
        Renamed.load_from_checkpoint(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Renamed.load_from_checkpoint(path, rate=0.5)


class Data(LightningDataModule):
    def __init__(self, root="a", size=1):
        super().__init__()
        self.keep(size)

    def keep(self, size):
        if size > 1:
            self.save_hyperparameters()

    def test_dataloader(self):
        return [0]


def test_data_modules_are_no_different(tmp_path):
    """Their arguments are found in a method of theirs, and defaults are named."""

    def path(data):
        trainer = quiet(tmp_path)
        trainer.test(Plain(0.5), datamodule=data, verbose=False)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    assert Data.load_from_checkpoint(path(Data("b", 2))).hparams == {"root": "b", "size": 2}
    with pytest.warns(UserWarning, match="the default of root, size"):
        Data.load_from_checkpoint(path(Data("b", 1)))
