"""Settings: frozen dataclasses whose fields carry a type, a bound and a comment. No torch, so --help is quick."""

import ast
import dataclasses
import inspect
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from workbench.errors import InvalidParameter, unknown


@dataclass(frozen=True)
class Bound:
    """Values from `low` to `high`; `low` itself is refused where `open`, and what is no multiple of `step`."""

    low: float = -math.inf
    high: float = math.inf
    open: bool = False
    step: int = 1

    def __contains__(self, value: float) -> bool:
        inside = self.low <= value <= self.high and not (self.open and value == self.low)
        return inside and (self.step == 1 or value % self.step == 0)

    def __str__(self) -> str:
        if self.step > 1:
            return f"of {self.step}, {2 * self.step}, {3 * self.step}, ..."
        if self.high < math.inf:
            return f"in {'(' if self.open else '['}{self.low:g}, {self.high:g}]"
        return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"


Count = Annotated[int, Bound(1)]
Natural = Annotated[int, Bound(0)]
Positive = Annotated[float, Bound(0, open=True)]
Weight = Annotated[float, Bound(0)]
Fraction = Annotated[float, Bound(0, 1)]
Side = Annotated[int, Bound(16, step=16)]  # of an image: all networks halve it up to four times and double it again


@dataclass(frozen=True)
class Config:
    """Base of every group of settings: types and bounds are checked when one is made.

    Raises:
        InvalidParameter: a field of the wrong type, outside its bound or not among its choices.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            value = checked(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)


def checked(name: str, value: Any, hint: Any) -> Any:
    """The value, with whole numbers accepted where floats are asked for; anything else of a wrong type is refused."""
    bound = None
    if typing.get_origin(hint) is Annotated:
        hint, bound = typing.get_args(hint)[:2]
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise unknown(name, str(value), map(str, typing.get_args(hint)))
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.inf
    wanted = hint if isinstance(hint, type | types.UnionType) else object
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        expected = getattr(hint, "__name__", str(hint))
        raise InvalidParameter(name, f"a value of type {expected}", repr(value), f"give {name}={example(hint)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidParameter(name, "a finite number", repr(value), f"give {name}={example(hint)}")
    if bound is not None and value not in bound:
        raise InvalidParameter(name, f"a value {bound}", repr(value), "choose one inside")
    return value


def example(hint: Any) -> str:
    return {int: "8", float: "0.5", bool: "true", str: "text"}.get(hint, "...")


def parse(pairs: Iterable[str]) -> dict[str, Any]:
    """Turn `key=value` words into typed values.

    >>> parse(["lr=2e-4", "hard=true", "source=phantom"])
    {'lr': 0.0002, 'hard': True, 'source': 'phantom'}
    """
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidParameter("-p", "key=value", repr(pair), "write for example -p epochs=3")
        values[key] = literal(text)
    return values


def literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def split(values: Mapping[str, Any], *groups: type) -> list[dict[str, Any]]:
    """Deal the values out to the groups (dataclasses) that have a field of that name.

    Raises:
        InvalidParameter: a name that no group has, with the known names and the nearest.
    """
    fields = [[field.name for field in dataclasses.fields(group)] for group in groups]
    known = [name for names in fields for name in names]
    for name in values:
        if name not in known:
            raise unknown("parameter", name, known)
    return [{name: values[name] for name in names if name in values} for names in fields]


def comments(group: type) -> dict[str, str]:
    """The comment beside each field, read from the source: meaning, unit, provenance."""
    found: dict[str, str] = {}
    for base in reversed(group.__mro__):
        if dataclasses.is_dataclass(base) and base is not Config:
            for line in inspect.getsource(base).splitlines():
                if match := re.match(r"    (\w+): .*?  # (.*)", line):
                    found[match[1]] = match[2]
    return {field.name: found.get(field.name, "") for field in dataclasses.fields(group)}


def describe(group: type) -> list[str]:
    """One line a field for --help: name, default and comment."""
    notes = comments(group)
    width = max((len(field.name) for field in dataclasses.fields(group)), default=0)
    return [f"  {f.name:<{width}}  {f.default!r:<14} {notes[f.name]}" for f in dataclasses.fields(group)]
