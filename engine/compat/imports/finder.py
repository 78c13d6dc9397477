"""Where `import pytorch_lightning...` finds the engine's names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from engine.compat.imports import ranks, spawned
from engine.compat.imports.installed import Said, said_of
from engine.compat.tables import children, is_module, names_of, resolve, say_missing, value_of

# What may be asked for, and the packages that exist then.
NAMES = {
    "lightning": ("lightning", "pytorch_lightning", "lightning_fabric", "pl_bolts"),
    "pytorch_lightning": ("pytorch_lightning", "lightning", "lightning_fabric", "pl_bolts"),
}


class Alias(ModuleType):
    """A module of Lightning's: each of its names is looked up when it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        source = resolve(self.__name__, name)
        if source is not None:
            value = value_of(source, f"{self.__name__}.{name}")
        elif is_module(f"{self.__name__}.{name}"):
            value = importlib.import_module(f"{self.__name__}.{name}")
        else:
            raise AttributeError(say_missing(self.__name__, name))
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *names_of(self.__name__), *children(self.__name__)})


class Finder:
    """On `sys.meta_path`: answers for the packages that were asked for, and their modules."""

    def __init__(self) -> None:
        self.packages: dict[str, bool] = {}  # and whether a user's own of that name comes first
        self.name = ""  # that was installed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for a module of the tables; an error that says what is missing for any other."""
        if fullname == ranks.MODULE:
            return ranks.spec_with_rank(path)
        package, dot, _ = fullname.partition(".")
        if package not in self.packages:
            return None
        if not dot and self.packages[package] and _is_someone_elses(package):
            del self.packages[package]
            return None
        if is_module(fullname):
            loader: Any = self
            return ModuleSpec(fullname, loader, origin="engine.compat", is_package=True)
        parent, _, name = fullname.rpartition(".")
        # `from parent import name` comes here as well, once the module itself has no such name.
        is_name = any(letter.isupper() for letter in name) or not children(parent)
        kind = ImportError if is_name else ModuleNotFoundError
        raise kind(say_missing(parent, name), name=parent)

    def find_distributions(self, context: Any = None) -> Iterator[Said]:
        """For `importlib.metadata.version("pytorch_lightning")`, and whoever requires one."""
        return said_of(getattr(context, "name", None), self.packages)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An alias."""
        return Alias(spec.name, f"{spec.name}, by the engine.")

    def exec_module(self, module: ModuleType) -> None:
        """Say what a `*` means; all else waits until it is asked for."""
        module.__dict__["__all__"] = names_of(module.__name__)
        if module.__name__ == "pytorch_lightning":
            importlib.import_module("engine.compat.utilities.loaders").show_loaders()
            if self.name == module.__name__:
                importlib.import_module("engine.compat.versions.flags").set_for_version_1()
        version = resolve(module.__name__, "__version__")
        if version is not None:
            module.__dict__["__version__"] = value_of(version, module.__name__)


_finder = Finder()


def install(name: str = "pytorch_lightning") -> None:
    """Make imports of Lightning in this process find the engine; call it before the first one."""
    if name not in NAMES:
        known = " and ".join(sorted(NAMES))
        raise ValueError(f"engine.compat stands in for {known}, not for {name!r}")
    for package in NAMES[name]:
        found = sys.modules.get(package)
        if found is None or isinstance(found, Alias):
            continue
        if package == name or package == "pytorch_lightning":
            raise RuntimeError(
                f"{package} has been imported already, from {_place(found)}: call "
                f"engine.compat.install({name!r}) before the first import of it, or run the script "
                f"by python -m engine.compat {name} script.py"
            )
    _finder.name = name
    for package in NAMES[name]:
        if package not in sys.modules:
            # One that is installed is itself a program written for Lightning.
            gives_way = package == "pl_bolts" or (package == "lightning" and name != "lightning")
            _finder.packages[package] = gives_way and _finder.packages.get(package, True)
    if _finder not in sys.meta_path:
        finder: Any = _finder
        sys.meta_path.insert(0, finder)
    ranks.set_now()
    spawned.carry_over(name)


def _place(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or "an unknown place"


def _is_someone_elses(package: str) -> bool:
    """Whether there is a package of this name that is no Lightning."""
    spec = PathFinder.find_spec(package)
    if spec is None:
        return False
    folders = list(spec.submodule_search_locations or [])
    return not any(os.path.isdir(os.path.join(folder, "pytorch")) for folder in folders)
