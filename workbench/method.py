"""The contract between a paper and the loop: what a method must be for `fit`, `study` and the dashboards."""

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from workbench.config import Config
from workbench.errors import unknown

Batch = dict[str, Tensor]
Update = tuple[str, Tensor, dict[str, Tensor | float]]


def seed_of(*parts: object) -> int:
    """A seed of 63 bits from anything that prints, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


@dataclass
class Stream:
    """Random numbers of one training step, for the items `first` to `first + local` of a batch of `total`.

    Every draw is made for the whole batch and cut, so an item gets the same numbers however the batch is spread over
    processes or accumulation, and a resumed run gets those that it would have got.
    """

    seed: int = 0
    first: int = 0
    total: int | None = None
    draws: int = field(default=0, init=False)

    def rand(self, *shape: int, device: torch.device) -> Tensor:
        generator = torch.Generator(device).manual_seed(seed_of(self.seed, self.draws))
        self.draws += 1
        total = shape[0] if self.total is None else self.total
        values = torch.rand(total, *shape[1:], generator=generator, device=device)
        return values[self.first : self.first + shape[0]]


@dataclass(frozen=True)
class Stage:
    """What is trained before a method, as a run of its own that all who ask for the same one share.

    From its weights those whose names begin with one of `take` are copied. `config` holds all settings of the stage
    that are not its defaults; `budget` and `data` replace those of the method. Without `method` it is the same one.
    Its run is listed under `name`, or that of its method.
    """

    take: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""
    name: str = ""


class Method(nn.Module):
    """Base of every method and baseline.

    A subclass names its `Config` and the kind of `data` that feeds it, and implements `optimizers`, `updates`,
    `predict` and `score`. The loop sets `epoch` (from 1) and `stream` before the step that uses them.
    """

    Config: ClassVar[type[Config]] = Config
    data: ClassVar[str]
    eager: ClassVar[tuple[str, ...]] = ()  # children that torch.compile must leave alone: it has no double backward

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.epoch = 1
        self.stream = Stream()

    @property
    def device(self) -> torch.device:
        tensor = next(self.parameters(), None)
        return next(self.buffers(), torch.empty(0)).device if tensor is None else tensor.device

    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), shape (B, ...), that belong to the items of the batch."""
        return self.stream.rand(*shape, device=self.device)

    @classmethod
    def before(cls, config: Config) -> Stage | None:
        """The stage that these settings ask for, such as pre-training; the stage may ask for another one."""
        return None

    def begin(self) -> None:
        """What a fresh run does once before training, such as to read weights from a file; stages are taken after."""

    def optimizers(self) -> dict[str, Optimizer]:
        """The optimizers by name; none for a method that only counts."""
        return {}

    def updates(self, batch: Batch) -> Iterator[Update]:
        """Yield `(optimizer name, loss, logs)`; the loop steps that optimizer and only then resumes the body."""
        raise TypeError(f"{type(self).__name__} does not say how it is trained: define updates()")

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """Outputs by documented key: mask, color, point, volume, flow, feature, logits, score, probability."""
        raise TypeError(f"{type(self).__name__} does not say what it predicts: define predict()")

    def score(self, batch: Batch, prediction: dict[str, Tensor]) -> dict[str, Tensor]:
        """Metrics by name, each (B,): one value an item."""
        raise TypeError(f"{type(self).__name__} does not say how it is scored: define score()")

    def settle(self, judged: Iterator[tuple[Batch, Batch]]) -> None:
        """Fix in buffers, when training is over, what depends on many items, such as a threshold.

        Given are the batches of the validation split, never of the test, each with its prediction.
        """

    def pooled(self, scores: Batch) -> Batch:
        """More metrics (N,) from the scores (N,) of all items of a split, such as an item's part of the AUC."""
        return {}

    def learned(self) -> Batch:
        """Arrays of any shape that are kept beside the samples of the run, such as a matrix between classes."""
        return {}


def names() -> dict[str, str]:
    """Every method and baseline by name, with the package that holds it; found, not registered, and not imported."""
    found = {}
    for package in ("methods", "baselines"):
        path = importlib.import_module(f"workbench.{package}").__path__
        found |= {module.name: package for module in pkgutil.iter_modules(path)}
    return found


def module(name: str) -> ModuleType:
    """The module of a method or baseline.

    Raises:
        InvalidParameter: no such method; the known ones and the nearest are named.
    """
    known = names()
    if name not in known:
        raise unknown("method", name, known)
    return importlib.import_module(f"workbench.{known[name]}.{name}")


def method_class(name: str) -> type[Method]:
    """The one Method subclass that a module defines."""
    source = module(name)
    found = [v for v in vars(source).values() if isinstance(v, type) and issubclass(v, Method)]
    return next(cls for cls in found if cls.__module__ == source.__name__ and not cls.__name__.startswith("_"))


def preset(name: str, which: str) -> dict[str, Any]:
    """The settings of a preset, named in the method's file; what `tiny` does not name is as the defaults are."""
    known = {which: getattr(module(name), which.upper(), {}) for which in ("tiny", "demo", "paper")}
    if which not in known:
        raise unknown("preset", which, known)
    return dict(known[which])
