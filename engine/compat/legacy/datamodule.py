"""LightningDataModule as in 1.x: with transforms and dims, and arguments from a command line."""

from __future__ import annotations

from typing import Any

from engine.compat.commandline.argparse import FromShell
from engine.module import datamodule as core


class LightningDataModule(core.LightningDataModule, FromShell):  # noqa: D101  (the core's text)
    __doc__ = core.LightningDataModule.__doc__

    dims: Any = ()

    def __init__(
        self,
        train_transforms: Any = None,
        val_transforms: Any = None,
        test_transforms: Any = None,
        dims: Any = None,
    ) -> None:
        self.train_transforms = train_transforms
        self.val_transforms = val_transforms
        self.test_transforms = test_transforms
        self.dims = dims if dims is not None else ()

    # These arguments say nothing of the data of a subclass.
    __init__.is_no_hparam = True  # type: ignore[attr-defined]  # functions take attributes

    def size(self, dim: int | None = None) -> Any:
        """The shape of one sample, `dims`, or one dimension of it."""
        return self.dims if dim is None else self.dims[dim]
