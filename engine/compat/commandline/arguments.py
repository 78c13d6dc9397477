"""Arguments from a command line, as functions of a class."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import Any


def add_argparse_args(cls: Any, parent_parser: ArgumentParser, **options: Any) -> ArgumentParser:
    """Add the arguments of a class to a parser; returns what can parse them."""
    parser: ArgumentParser = cls.add_argparse_args(parent_parser, **options)
    return parser


def from_argparse_args(cls: Any, args: ArgumentParser | Namespace, **kwargs: Any) -> Any:
    """An object of a class, made with parsed arguments."""
    return cls.from_argparse_args(args, **kwargs)


def parse_argparser(cls: Any, arg_parser: ArgumentParser | Namespace) -> Namespace:
    """The parsed arguments, with texts read as the class means them."""
    args: Namespace = cls.parse_argparser(arg_parser)
    return args


def parse_env_variables(cls: Any, template: str = "PL_%(cls_name)s_%(cls_argument)s") -> Namespace:
    """The arguments of a class that the environment has, each by its type."""
    found = {}
    for argument in cls.shell_arguments():
        names = {"cls_name": cls.__name__.upper(), "cls_argument": argument.name.upper()}
        text = os.environ.get(template % names)
        if text:
            found[argument.name] = argument.read(text)
    return Namespace(**found)


def get_init_arguments_and_types(cls: Any) -> list[tuple[str, tuple[Any, ...], Any]]:
    """The arguments of a class: name, types and default of each."""
    found: list[tuple[str, tuple[Any, ...], Any]] = cls.get_init_arguments_and_types()
    return found
