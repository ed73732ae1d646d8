"""What most tests need: small data, small methods, float32 on one thread."""

import dataclasses
import functools

import pytest
import torch

from workbench import data, method
from workbench.fit import Budget

SMALL = {
    "base": 4, "blocks": 1, "critic_base": 4, "critic_depth": 2, "pool": 4, "size": 32,
    "pretrain": 0, "segment_from": 1, "seg_base": 4, "reader_base": 4,
}  # fmt: skip
FLOAT32 = Budget(epochs=2, batch=4, precision="float32", valid_every=1, log_every=1, channels_last=False)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@functools.cache
def small_data(kind: str) -> data.Data:
    return data.open_data(kind, size=32, train=8, valid=2, test=3)


def small_method(name: str, **changes) -> method.Method:
    """A method as small as its settings allow, with the same weights every time."""
    cls = method.method_class(name)
    known = {field.name for field in dataclasses.fields(cls.Config)}
    spec = small_data(cls.data).spec
    torch.manual_seed(0)
    return cls(cls.Config(**{k: v for k, v in (SMALL | spec).items() if k in known} | changes))
