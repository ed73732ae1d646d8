"""What an output says, as facts: words, numbers as they were printed, a small picture.

Text is split into a skeleton of words, where every number is a `#`, and the numbers. What no two runs share is
replaced by its kind before: addresses, absolute paths, dates, durations, generated ids, progress bars.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fact:
    """One statement of an output; a part that is empty says nothing."""

    words: str = ""  # compared letter by letter
    numbers: tuple[str, ...] = ()  # as printed: "12" is a count, "12.0" a measurement
    picture: str = ""  # a thumbnail: PNG, base64
    scale: float = 0.0  # tolerances of the numbers are relative to this where it is larger than the number
    rtol: float = 0.0  # at least this tolerance, of facts that are coarse by nature


Facts = dict[str, Fact]

GAP, SHARP = "#", "♯"  # where a number stood, and what a # of the text itself becomes
SHORT = 12  # values of a column that are kept whole

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BAR = re.compile(r"^.*\d+%\|.*$", re.MULTILINE)  # tqdm
UNITS = r"(?:ns|[µμu]s|ms|s|secs?|seconds?|mins?|minutes?|h|hours?|d|days?)"
RATES = r"(?:it/s|s/it|steps?/s|[kMG]?B/s)"
CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?"
ZONE = r"(?:Z|\s?[+-]\d{2}:?\d{2}|\s?[A-Z]{3,4})?"
REPLACED = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?<=[a-z0-9]-)[0-9a-f]{12}\b|\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{12}\b"), "<id>"),  # of runs
    (re.compile(r"\b0x[0-9a-fA-F]{6,}\b"), "<address>"),
    (re.compile(r"(?<![\w/:.<])(?:~|[A-Za-z]:)?(?:[/\\][\w.+@~-]+){2,}[/\\]?(?::\d+\b)?"), "<path>"),
    (re.compile(rf"\b\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{CLOCK}|[T ]\d{{2}}:\d{{2}})?{ZONE}"), "<time>"),
    (re.compile(rf"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\s+[A-Z][a-z]{{2}}\s+\d+\s+{CLOCK}{ZONE}\s+\d{{4}}"), "<time>"),
    (re.compile(rf"\b{CLOCK}\b"), "<time>"),
    (re.compile(rf"(?<![\w.])\d[\d.,]*(?:e[-+]?\d+)?\s?(?:{UNITS}|{RATES})(?![\w%/])"), "<time>"),
    (re.compile(r"<time>(?:[\s,]*<time>)+"), "<time>"),
    (re.compile(r"\b([A-Z][A-Za-z]+)\d{5}\b"), r"\1<id>"),  # the names that param gives
)
NUMBER = re.compile(
    r"(?<![\w.♯])[-+−]?(?:"
    r"(?:\d{1,3}(?:,\d{3})+|\d+)?\.\d+(?:[eE][-+]?\d+)?(?![\d.]*\.\d)"  # 0.5, .5, 1,234.5, 1.5e-3, 2.5mm
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)\.(?=\s*[\]\d-])"  # 3. as numpy prints
    r"|\d+[eE][-+]?\d+(?!\w)"
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?![\w.]|,\d{3}(?!\d))"
    r"|\d+(?=\.(?:\s|$))"  # a count at the end of a sentence
    r"|(?:nan|NaN|NAN|inf)(?!\w)"
    r")"
)


def plain(text: str) -> str:
    """Text without what differs from run to run: each address, path, time and id is replaced by its kind.

    >>> plain("model smcgan-4c97bf819bb4 at 0x7f3a5c2b1d90 took 12.3 s, written to /tmp/run_7/scores.csv")
    'model smcgan-<id> at <address> took <time>, written to <path>'
    """
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in ANSI.sub("", text).split("\n"))
    text = BAR.sub("", "\n".join(lines))
    for pattern, kind in REPLACED:
        text = pattern.sub(kind, text)
    return text


def said(text: str) -> Fact:
    """The fact of a text: its skeleton of words and its numbers.

    >>> said("ap   0.616 of  12 neurons")
    Fact(words='ap # of # neurons', numbers=('0.616', '12'), picture='', scale=0.0, rtol=0.0)
    """
    text = plain(text).replace(GAP, SHARP)
    numbers = tuple(found.group().replace("−", "-") for found in NUMBER.finditer(text))
    lines = (" ".join(line.split()) for line in NUMBER.sub(GAP, text).split("\n"))
    return Fact("\n".join(line for line in lines if line), numbers)


def counts(word: str) -> bool:
    """Whether a number was printed as a whole one."""
    return bool(re.fullmatch(r"[-+]?[\d,]+", word))


def value(word: str) -> float:
    return float(word.replace(",", ""))


def last_place(word: str) -> float:
    """One unit in the last place of a number as printed, 0 where a single digit says too little for that.

    >>> last_place("0.62"), last_place("0.6"), last_place("12")
    (0.01, 0.0, 0.0)
    """
    digits, _, power = word.lower().replace(",", "").lstrip("+-").partition("e")
    whole, point, decimals = digits.partition(".")
    if not point or len((whole + decimals).lstrip("0")) < 2:
        return 0.0
    return float(f"1e{int(power or 0) - len(decimals)}")


def listed(values: Iterable, scaled: bool = True) -> Fact:
    """The fact of a column of a figure: short ones whole, of long ones length, limits, mean and nine places.

    Tolerances of its numbers are relative to its range, since a curve has no natural zero.
    """
    values = list(values)
    array = np.asarray(values)
    if array.dtype.kind == "O" and values and all(one is None or isinstance(one, int | float) for one in values):
        array = np.array([np.nan if one is None else one for one in values], float)
    if array.ndim != 1:
        return Fact(f"shape {array.shape}")
    if array.dtype.kind not in "bifu":
        return named([str(one) for one in values])
    finite = array[np.isfinite(array)].astype(float)
    scale = float(np.ptp(finite)) if scaled and finite.size else 0.0
    if array.size <= SHORT:
        return Fact(numbers=tuple(map(printed, array.tolist())), scale=scale)
    summary = [finite.min(), finite.max(), finite.mean()] if finite.size else [np.nan]
    places = array[np.linspace(0, array.size - 1, 9).round().astype(int)].astype(float)
    missing = int(array.size - finite.size)
    shown = [str(array.size), str(missing), *(printed(float(one)) for one in (*summary, *places))]
    return Fact(numbers=tuple(shown), scale=scale)


def named(words: list[str]) -> Fact:
    """The fact of a column of words: short ones whole, of long ones how many, which, and a digest of their order."""
    if len(words) <= SHORT:
        return said("\n".join(words))
    kinds = list(dict.fromkeys(words))
    digest = hashlib.sha256("\n".join(map(plain, words)).encode()).hexdigest()[:12]
    return said("\n".join([f"{len(words)} of {len(kinds)} kinds", *kinds[:SHORT], f"order {digest}"]))


def printed(number: float | int | bool) -> str:
    """A number of six digits that keeps whether it is a count."""
    if isinstance(number, bool | int):
        return str(int(number))
    text = f"{number:.6g}"
    return text if set(text) & set(".en") else f"{text}.0"


def prefixed(name: str, facts: Facts) -> Facts:
    """The same facts as parts of something: `name: part`."""
    return {f"{name}: {part}" if part else name: fact for part, fact in facts.items()}


def read_again(fact: Fact) -> str:
    """The text of a fact with its numbers back in their places.

    >>> read_again(said("ap   0.616 of  12 neurons"))
    'ap 0.616 of 12 neurons'
    """
    numbers = iter(fact.numbers)
    filled = re.sub(GAP, lambda gap: next(numbers, gap.group()), fact.words)
    return " ".join([filled.replace(SHARP, GAP), *numbers]).strip()
