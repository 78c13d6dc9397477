"""LightningCLI: a program's classes made from its command line and YAML files.

    python train.py fit --config run.yaml --trainer.max_epochs 3 --model.lr 0.1 --data.batch_size 8

Of the original's many ways this is the plain one: arguments of the classes by name, values as YAML
writes them, and objects as `class_path` with `init_args`.
"""

from __future__ import annotations

import inspect
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from engine import Callback, Trainer, seed_everything
from engine.compat.commandline.registries import instantiate_class
from engine.runtime.errors import MisconfigurationException
from engine.runtime.storage.files import write_whole
from engine.runtime.storage.yaml_data import load_yaml, load_yaml_file
from engine.trainer.options import as_list

VERBS = ("fit", "validate", "test", "predict", "tune")
Config = dict[str, Any]


class LightningArgumentParser:
    """Knows the arguments that there are, and turns words into a nested dict."""

    def __init__(self, description: str = "", **_: Any) -> None:
        self.own = ArgumentParser(description=description, add_help=False, allow_abbrev=False)
        self.classes: dict[str, tuple[Any, bool]] = {}
        self.config: Config = {}
        self.links: list[tuple[str, str, Callable[..., Any] | None]] = []

    def add_argument(self, *names: str, **options: Any) -> None:
        """An argument of the program's own, as argparse has it."""
        self.own.add_argument(*names, **options)

    def add_lightning_class_args(
        self, cls: Any, nested_key: str, subclass_mode: bool = False
    ) -> None:
        """The arguments of a class, below a name."""
        self.classes[nested_key] = cls, subclass_mode

    def set_defaults(self, *defaults: Config, **named: Any) -> None:
        """What counts where nothing else is said."""
        for given in (*defaults, named):
            for path, value in given.items():
                put(self.config, path, value)

    def link_arguments(
        self, source: str, target: str, compute_fn: Callable[..., Any] | None = None, **_: Any
    ) -> None:
        """Let one argument follow from another."""
        self.links.append((source, target, compute_fn))

    def add_optimizer_args(self, *_: Any, **__: Any) -> NoReturn:
        """Not here."""
        raise MisconfigurationException(
            "LightningCLI makes no optimizers here: write configure_optimizers in the module, with "
            "the module's own arguments"
        )

    add_lr_scheduler_args = add_optimizer_args

    def parse(self, words: list[str]) -> Config:
        """The nested dict that the words mean."""
        if "-h" in words or "--help" in words:
            self._help()
        known, rest = self.own.parse_known_args(words)
        for name, value in vars(known).items():
            put(self.config, name, value)
        while rest:
            name, equals, text = rest.pop(0).partition("=")
            if not name.startswith("--"):
                self.refuse(f"{name!r} is no option")
            if not equals and rest and not rest[0].startswith("--"):
                text = rest.pop(0)
            self._take(name[2:], text if equals or text else "true")
        self._read_numbers()
        for source, target, compute in self.links:
            value = look_up(self.config, source)
            value = self._default(source) if value is None else value
            put(self.config, target, compute(value) if compute else value)
        return self.config

    def _read_numbers(self) -> None:
        """Texts where a number is meant: YAML takes 1e-3 for one, in a file as on the line."""
        for head, (cls, is_subclass) in self.classes.items():
            given = self.config.get(head)
            if is_subclass or not isinstance(given, dict):
                continue
            parameters = inspect.signature(cls).parameters
            for name in [one for one in given if isinstance(given[one], str)]:
                wanted = parameters[name].annotation if name in parameters else str
                kind = next((k for k in (int, float) if wanted in (k, k.__name__)), None)
                if kind is None:
                    continue
                try:
                    given[name] = kind(given[name])
                except ValueError:
                    self.refuse(f"--{head}.{name} is a number, not {given[name]!r}")

    def _default(self, path: str) -> Any:
        """What an argument is that nobody gave."""
        head, _, name = path.partition(".")
        cls, _ = self.classes.get(head, (None, False))
        parameter = None if cls is None else inspect.signature(cls).parameters.get(name)
        is_given = parameter is None or parameter.default is inspect.Parameter.empty
        return None if is_given else parameter.default  # type: ignore[union-attr]  # so it is one

    def _take(self, path: str, text: str) -> None:
        import yaml

        if path in ("config", "c"):
            for name, value in (load_yaml_file(text) or {}).items():
                merge(self.config, {name: value})
        elif path == "print_config":
            sys.stdout.write(yaml.safe_dump(self.config, sort_keys=False))
            raise SystemExit
        else:
            put(self.config, path, self._value(path, text))

    def _value(self, path: str, text: str) -> Any:
        head, _, name = path.partition(".")
        if head not in self.classes and path not in ("seed_everything", "ckpt_path"):
            self.refuse(f"no option --{path}", [f"{key}." for key in self.classes])
        cls, is_subclass = self.classes.get(head, (None, True))
        parameter = None
        if cls is not None and not is_subclass:
            parameters = inspect.signature(cls).parameters
            is_open = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
            parameter = parameters.get(name.partition(".")[0])
            if parameter is None and not (is_open and cls is not Trainer):
                self.refuse(f"no option --{path}", [f"{head}.{one}" for one in parameters])
        wants_text = parameter is not None and parameter.annotation in (str, "str")
        value = text if wants_text else load_yaml(text, f"--{path}")
        if isinstance(value, str) and not wants_text:
            try:
                return float(value)  # YAML takes 1e-3 for a text
            except ValueError:
                return value
        return value

    def _help(self) -> NoReturn:
        self.own.print_help()
        for head, (cls, _) in self.classes.items():
            parameters = inspect.signature(cls).parameters.items()
            names = [name for name, one in parameters if one.kind is not one.VAR_KEYWORD]
            sys.stdout.write(f"\n{head}: " + ", ".join(f"--{head}.{name}" for name in names) + "\n")
        raise SystemExit

    def refuse(self, what: str, known: list[str] | None = None) -> NoReturn:
        """Say what is wrong with the command line, and end."""
        near = get_close_matches(what.rpartition("--")[2], known or [], n=1)
        sys.stderr.write(what + (f"; did you mean --{near[0]}?" if near else "") + "\n")
        raise SystemExit(2)


class SaveConfigCallback(Callback):
    """Writes the configuration into the folder of the run."""

    def __init__(
        self, parser: Any, config: Config, config_filename: str = "config.yaml", **_: Any
    ) -> None:
        self.parser, self.config, self.config_filename = parser, config, config_filename

    def setup(self, trainer: Any, pl_module: Any, stage: str | None = None) -> None:
        """Write it, from rank zero, once."""
        import yaml

        if trainer.is_global_zero and trainer.log_dir and stage == "fit":
            path = Path(trainer.log_dir, self.config_filename)
            write_whole(path, yaml.safe_dump(self.config, sort_keys=False))


class LightningCLI:
    """Makes trainer, model and data of the command line, and runs the verb that it names.

    A verb that is not named is fit, as in 1.3 and 1.4. With `run=False` nothing runs: `trainer`,
    `model`, `datamodule` and `config` are there for the program.
    """

    def __init__(  # noqa: PLR0913, PLR0917  (those of 1.5, in their order)
        self,
        model_class: Any = None,
        datamodule_class: Any = None,
        save_config_callback: Any = SaveConfigCallback,
        save_config_filename: str = "config.yaml",
        save_config_overwrite: bool = False,
        save_config_multifile: bool = False,
        trainer_class: Any = Trainer,
        trainer_defaults: Config | None = None,
        seed_everything_default: int | bool | None = None,
        description: str = "",
        env_prefix: str = "PL",
        env_parse: bool = False,
        parser_kwargs: Config | None = None,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        run: bool = True,
        args: list[str] | None = None,
        **_: Any,
    ) -> None:
        self.parser = LightningArgumentParser(description)
        self.parser.add_lightning_class_args(trainer_class, "trainer")
        if model_class is not None or subclass_mode_model:
            self.parser.add_lightning_class_args(model_class, "model", subclass_mode_model)
        if datamodule_class is not None or subclass_mode_data:
            self.parser.add_lightning_class_args(datamodule_class, "data", subclass_mode_data)
        self.parser.set_defaults({"seed_everything": seed_everything_default})
        self._trainer_defaults = trainer_defaults or {}
        self._save = save_config_callback and (save_config_callback, save_config_filename)
        self.add_arguments_to_parser(self.parser)
        words = list(sys.argv[1:] if args is None else args)
        self.subcommand = words.pop(0) if run and words and words[0] in VERBS else "fit"
        found = self.parser.parse(words)
        self.config: Config = {self.subcommand: found} if run else found
        self.config_init = self.config
        if found["seed_everything"] not in (None, False):
            seed = found["seed_everything"]
            seed_everything(None if seed is True else seed, workers=True)
        self.before_instantiate_classes()
        self.instantiate_classes()
        if run:
            self._run(found.get("ckpt_path"))

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """To be overridden: more arguments, defaults and links."""

    def before_instantiate_classes(self) -> None:
        """To be overridden."""

    def instantiate_classes(self) -> None:
        """Make data, model and trainer."""
        config = self.config.get(self.subcommand, self.config)
        self.datamodule = self._make("data", config)
        self.model = self._make("model", config)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """The trainer."""
        config = self.config.get(self.subcommand, self.config)
        given = {**self._trainer_defaults, **made(config.get("trainer", {})), **kwargs}
        callbacks = as_list(given.pop("callbacks", None))
        for name in self.parser.classes.keys() - {"trainer", "model", "data"}:
            own = self._make(name, config)  # a callback, by add_lightning_class_args
            callbacks += [own] if isinstance(own, Callback) else []
        if self._save and not given.get("fast_dev_run"):
            kind, name = self._save
            callbacks.append(kind(self.parser, plain(config), name))
        return self.parser.classes["trainer"][0](**given, callbacks=callbacks)

    def _make(self, name: str, config: Config) -> Any:
        if name not in self.parser.classes:
            return None
        cls, is_subclass = self.parser.classes[name]
        given = config.get(name, {})
        if is_subclass or "class_path" in given:
            return made(given)
        required, untyped = required_arguments(cls)
        missing = [one for one in required if one not in given]
        if missing:
            self.parser.refuse(f"--{name}.{missing[0]} is not given: {cls.__name__} needs it")
        return cls(**{**dict.fromkeys(untyped), **made(given)})

    def _run(self, ckpt_path: str | None) -> None:
        for part in ("before_", "", "after_"):
            own = getattr(self, f"{part}{self.subcommand}", None)
            if part or own is not None:
                (own or (lambda: None))()
                continue
            options = {} if ckpt_path is None else {"ckpt_path": ckpt_path}
            getattr(self.trainer, self.subcommand)(
                self.model, datamodule=self.datamodule, **options
            )


def required_arguments(cls: Any) -> tuple[list[str], list[str]]:
    """The arguments without a default: those with a type must be given, the others may be None."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    empty = inspect.Parameter.empty
    found = inspect.signature(cls).parameters.values()
    without = [one for one in found if one.kind in kinds and one.default is empty]
    untyped = [one.name for one in without if one.annotation is empty]
    return [one.name for one in without if one.name not in untyped], untyped


def made(value: Any) -> Any:
    """The value with an object in the place of each `class_path` with `init_args`."""
    if isinstance(value, dict):
        inner = {name: made(one) for name, one in value.items()}
        return instantiate_class((), inner) if "class_path" in inner else inner
    return [made(one) for one in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """The value as YAML can hold it."""
    if isinstance(value, (dict, Namespace)):
        found = vars(value) if isinstance(value, Namespace) else value
        return {str(name): plain(one) for name, one in found.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def put(config: Config, path: str, value: Any) -> None:
    """Set what lies at `a.b.c`."""
    *heads, last = path.split(".")
    for head in heads:
        config = config.setdefault(head, {})
    config[last] = value


def look_up(config: Config, path: str) -> Any:
    """What lies at `a.b.c`; None where there is nothing."""
    found: Any = config
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def merge(config: Config, more: Config) -> None:
    """Put all of `more` in, deep down."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(config.get(name), dict):
            merge(config[name], value)
        else:
            config[name] = value
