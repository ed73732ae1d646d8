"""What every kind of data returns: splits of cases that batches are cut from."""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from workbench.config import split
from workbench.errors import unknown


@dataclass(frozen=True)
class Cases:
    """Items of one split, held in memory.

    `tensors` have the item first; uint8 ones are pixels, handed out as float32 in [0, 1], all others as they are.
    `table` has one entry an item in every column: `case` (an id without identity), `group` (what must not be split: a
    patient, a lesion, a block) and whatever else belongs beside the scores.
    """

    tensors: dict[str, Tensor]
    table: dict[str, list]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitems__(self, items: Sequence[int]) -> dict[str, Tensor]:
        index = torch.as_tensor(items)
        taken = {key: tensor.index_select(0, index) for key, tensor in self.tensors.items()}
        return {key: t.float().div_(255) if t.dtype == torch.uint8 else t for key, t in taken.items()}

    def content(self) -> Iterator[bytes]:
        """All that tells these cases from others, for the fingerprint."""
        yield repr(sorted(self.table.items())).encode()
        for key in sorted(self.tensors):
            yield key.encode()
            yield self.tensors[key].contiguous().numpy().tobytes()


@dataclass(frozen=True)
class Data:
    """A data set split into train, valid (for choosing settings) and test (touched once, at the end).

    `spec` holds what a method must know to be built for it (`size`, `regions`, ...); `shown` names the inputs and
    targets that are kept to look at; `labels` names the classes of a label map, each with the values that belong to it
    (a disc includes its cup), or the classes and findings of whole images; `unit` is that of distances, mm where the
    files tell the size of a pixel; `aside` lists unreadable files with reasons; `truth` names that one of `shown` which
    a classifier is asked for: the number of a class (N,), or findings (N, L) of which `known` tells whether they are.
    """

    name: str
    train: Cases
    valid: Cases
    test: Cases
    spec: dict[str, Any]
    shown: tuple[str, ...] = ()
    labels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    unit: str = "px"
    aside: list[tuple[str, str]] = field(default_factory=list)
    truth: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of all the pixels and tables: equal data, equal fingerprint."""
        digest = hashlib.sha256()
        for part in (self.train, self.valid, self.test):
            for piece in part.content():
                digest.update(piece)
        return digest.hexdigest()[:12]


def kinds() -> list[str]:
    """The kinds of data: the modules of this package that hold a phantom."""
    return [m.name for m in pkgutil.iter_modules(__path__) if m.name not in ("io", "store")]


def module(kind: str) -> ModuleType:
    if kind not in kinds():
        raise unknown("kind of data", kind, kinds())
    return importlib.import_module(f"workbench.data.{kind}")


def open_data(kind: str, **options: Any) -> Data:
    """Make or load a data set: `open_data("anatomy", source="samples", size=64)`, `open_data("anatomy", root=FOLDER)`.

    Raises:
        InvalidParameter: an unknown or wrong option; InvalidImage: a folder or files that cannot serve.
    """
    source = module(kind)
    (values,) = split(options, source.Options)
    chosen = source.Options(**values)
    if chosen.root:
        return source.load(chosen.root, chosen)
    return getattr(source, chosen.source)(chosen)


def check(kind: str, root: str | Path, **options: Any) -> Iterator[str]:
    """What `open_data` would make of a folder with these options, line by line.

    Raises:
        as open_data.
    """
    source = module(kind)
    (values,) = split(options, source.Options)
    yield from source.check(root, source.Options(**values))
