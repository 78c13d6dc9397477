"""Reading and writing of checkpoints and hyper-parameters, by the names of 1.x."""

from __future__ import annotations

import csv
import io
import os
from argparse import Namespace
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from engine.module.hyperparameters.hparams import AttributeDict
from engine.runtime.storage.checkpoint import read, write
from engine.runtime.storage.files import write_whole
from engine.runtime.storage.hparams_file import plain
from engine.runtime.storage.yaml_data import load_yaml, load_yaml_file


def load(path_or_url: Any, map_location: Any = None, weights_only: bool = True) -> Any:
    """Read a checkpoint. Old ones that hold more than plain data want `weights_only=False`."""
    return read(path_or_url, map_location or "cpu", weights_only)


def atomic_save(checkpoint: dict[str, Any], filepath: Any) -> None:
    """Write a checkpoint, whole or not at all."""
    write(checkpoint, filepath)


def get_filesystem(path: str | os.PathLike[str], **options: Any) -> Any:
    """The file system of a path or URL, by fsspec."""
    try:
        import fsspec  # type: ignore[import-untyped]  # the user's
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "get_filesystem is fsspec's, which is not installed: pip install fsspec", name="fsspec"
        ) from error
    return fsspec.core.url_to_fs(os.fspath(path), **options)[0]


def load_hparams_from_yaml(config_yaml: str | os.PathLike[str], use_omegaconf: bool = True) -> Any:
    """The hyper-parameters in a YAML file; none where there is no file."""
    if not os.path.exists(config_yaml):
        return {}
    return load_yaml_file(config_yaml) or {}


def save_hparams_to_yaml(
    config_yaml: str | os.PathLike[str],
    hparams: Mapping[str, Any] | Namespace,
    use_omegaconf: bool = True,
) -> None:
    """Write hyper-parameters to a YAML file, as plain data."""
    import yaml

    found = vars(hparams) if isinstance(hparams, Namespace) else hparams
    write_whole(config_yaml, yaml.safe_dump(plain(found), sort_keys=False))


def load_hparams_from_tags_csv(tags_csv: str | os.PathLike[str]) -> dict[str, Any]:
    """The hyper-parameters in a file of keys and values."""
    if not os.path.exists(tags_csv):
        return {}
    with open(tags_csv, newline="") as file:
        rows = csv.DictReader(file)
        return {row["key"]: load_yaml(row["value"], os.fspath(tags_csv)) for row in rows}


def save_hparams_to_tags_csv(
    tags_csv: str | os.PathLike[str], hparams: Mapping[str, Any] | Namespace
) -> None:
    """Write hyper-parameters to a file of keys and values."""
    found = vars(hparams) if isinstance(hparams, Namespace) else hparams
    text = io.StringIO()
    csv.writer(text).writerows([("key", "value"), *found.items()])
    write_whole(tags_csv, text.getvalue())


def update_hparams(hparams: dict[str, Any], updates: dict[str, Any]) -> None:
    """Change nested hyper-parameters in their place."""
    for name, value in updates.items():
        if isinstance(value, dict) and isinstance(hparams.get(name), dict):
            update_hparams(hparams[name], value)
        else:
            hparams[name] = value


class ModelIO:
    """A name for what a LightningModule can do by itself: `load_from_checkpoint`."""

    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = AttributeDict


class pl_legacy_patch:
    """Nothing has to be patched to read an old checkpoint: its names are those of the aliases."""

    def __enter__(self) -> pl_legacy_patch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass
