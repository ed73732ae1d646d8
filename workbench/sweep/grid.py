"""Grids: values written on the command line or in a YAML file, and the runs that they make."""

import contextlib
import itertools
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.config import literal
from workbench.errors import InvalidParameter, WorkbenchError

MANY = 1000  # runs above which a sweep asks
RANGE = re.compile(r"(-?\d+):(-?\d+)(?::(-?\d+))?")
NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
SPAN = re.compile(rf"{NUMBER}:{NUMBER}(:log)?")
OPENING, CLOSING = "([{", ")]}"

Axes = dict[str, list[Any]]


@dataclass(frozen=True)
class Span:
    """All numbers between two, for a search; `log` where their magnitude is what matters."""

    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}{':log' if self.log else ''}"


def values(key: str, text: str) -> list[Any]:
    """The values in a text: `a,b,c` are three, `0:5` are 0 to 4; what is quoted or in brackets is one.

    >>> values("lr", "1e-3,1e-4"), values("seed", "0:3,7"), values("arms", "'floors,gan',rivals")
    ([0.001, 0.0001], [0, 1, 2, 7], ['floors,gan', 'rivals'])
    """
    parts = pieces(text)
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise InvalidParameter(key, "a value on both sides of every comma", repr(text), "write for example a,b,c")
    return [value for part in parts for value in piece(key, part.strip())]


def pieces(text: str) -> list[str]:
    """The text cut at its commas, except those between quotes or brackets."""
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        depth += (sign in OPENING) - (sign in CLOSING) if not quote else 0
        if sign == "," and depth <= 0 and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def piece(key: str, text: str) -> list[Any]:
    """A range, or one value as in `workbench.config`; JSON too, for true, false and null in brackets."""
    if match := RANGE.fullmatch(text):
        start, stop, step = (int(group or 1) for group in match.groups())
        if not step:
            raise InvalidParameter(key, "a range with a step other than 0", repr(text), "write for example 0:10:2")
        if abs(stop - start) > 10**7:
            raise InvalidParameter(key, "a range of at most ten million values", repr(text), "give a shorter one")
        return list(range(start, stop, step))
    if match := SPAN.fullmatch(text):
        span = Span(float(match[1]), float(match[2]), bool(match[3]))
        if not span.low < span.high or (span.log and span.low <= 0):
            raise InvalidParameter(
                key, "a range from low to high, above 0 for log", repr(text), "such as 1e-5:1e-2:log"
            )
        return [span]
    if text[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return [json.loads(text)]
    return [literal(text)]


def from_words(pairs: Iterable[str]) -> Axes:
    """The axes of `key=values` words.

    Raises:
        InvalidParameter: no key, a key given twice, an axis without a value.
    """
    axes: Axes = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise InvalidParameter("-p", "key=value", repr(pair), "write for example -p lr=1e-3,1e-4 -p seeds=5")
        if key in axes:
            raise InvalidParameter(key, "one -p for every name", "two", f"write -p {key}=a,b")
        axes[key] = filled(key, values(key, text))
    return axes


def from_file(path: Path) -> Axes:
    """The axes of a YAML file: `name: value`, `name: [a, b]`, `name: 0:5`, as on the command line."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Leaves plain words to `piece`: YAML itself takes 1e-3 for a text, and 1:30 for ninety."""

        yaml_implicit_resolvers = {}

    def scalar(loader: Loader, node: yaml.ScalarNode) -> Any:
        if node.style is not None:  # quoted
            return node.value
        if node.value in ("", "~", "null"):
            return None
        found = piece(path.name, node.value)
        return found[0] if len(found) == 1 else found

    Loader.add_constructor("tag:yaml.org,2002:str", scalar)
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InvalidParameter(path, "a grid in YAML", why, "write lines such as `lr: [1e-3, 1e-4]`") from None
    if not isinstance(found, Mapping) or not all(str(key).isidentifier() for key in found):
        raise InvalidParameter(
            path, "names with values", type(found).__name__, "write lines such as `lr: [1e-3, 1e-4]`"
        )
    return {key: filled(key, flat(one)) for key, one in found.items()}


def flat(given: Any) -> list[Any]:
    """The values of an axis; a range within a list is part of it.

    >>> flat(3), flat([1, [5, 6]])
    ([3], [1, 5, 6])
    """
    given = given if isinstance(given, list) else [given]
    return [value for one in given for value in (one if isinstance(one, list) else [one])]


def filled(key: str, axis: list[Any]) -> list[Any]:
    if not axis:
        raise InvalidParameter(key, "at least one value", "an empty range", "write for example 0:5, which ends with 4")
    return axis


def points(axes: Axes) -> Iterator[dict[str, Any]]:
    """Every combination, the last axis fastest."""
    for combination in itertools.product(*axes.values()):
        yield dict(zip(axes, combination, strict=True))


def count(axes: Axes) -> int:
    """How many runs the axes make.

    Raises:
        InvalidParameter: none, or a range without end of what is between two numbers.
    """
    for key, axis in axes.items():
        if span := next((one for one in axis if isinstance(one, Span)), None):
            remedy = "list the values, or search with --trials"
            raise InvalidParameter(key, "values or a range of whole numbers", repr(str(span)), remedy)
    if not axes:
        raise InvalidParameter(
            "the grid", "at least one -p or a file of --grid", "none", "write for example -p seeds=1,3"
        )
    return math.prod(map(len, axes.values()))


def confirm(number: int, yes: bool, ask: Callable[[str], str] = input) -> None:
    """Ask before very many runs.

    Raises:
        WorkbenchError: the answer is no, or there is nobody to ask.
    """
    if number <= MANY or yes:
        return
    if not sys.stdin.isatty():
        raise WorkbenchError("the grid", f"at most {MANY:,} runs", f"{number:,}", "say --yes if they are meant")
    if ask(f"{number:,} runs: start them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise WorkbenchError("the grid", "a yes", "none", "nothing was started")


def shown(value: Any) -> str:
    """A value as it stands in tables and labels."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def label(asked: Mapping[str, Any], axes: Axes) -> str:
    """What tells a run from the others: the axes with several values, or all."""
    names = [key for key, axis in axes.items() if len(axis) > 1] or list(axes)
    return " ".join(f"{key}={shown(asked[key])}" for key in names)
