"""Facts against facts: what several runs agree on, how far another may be from it, and what differs."""

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from workbench.check.facts import Fact, Facts, counts, last_place, read_again, value
from workbench.check.outputs import warnings
from workbench.check.pictures import difference
from workbench.errors import InvalidParameter

SPREAD = 5.0  # times the range over the repeats; three runs see about a third of what a hundred will
COLUMN = re.compile(r"column (.+?)(?:: type)?$")
TAG = re.compile(r"check-(rtol|atol|picture)=(\S+)$")


@dataclass(frozen=True)
class Tolerance:
    """How far a found value may be from the expected one; a cell states its own by tags or by metadata `check`."""

    rtol: float = 0.01  # relative to the number, or to the range of a column of a figure
    atol: float = 1e-9  # at least
    picture: float = 0.1  # of the contrast, in any pixel of the thumbnail
    stated: bool = False  # by the cell: then it holds for whole numbers too, which are exact otherwise
    ignore: bool = False  # nothing of the cell is compared
    columns: Mapping[str, float | None] = field(default_factory=dict)  # rtol of a column; None: not compared

    def of(self, metadata: Mapping[str, Any]) -> "Tolerance":
        """The tolerance of a cell with these metadata.

        Raises:
            InvalidParameter: a tag or an entry that is not known, or no number.
        """
        tags = list(metadata.get("tags", []))
        given = dict(metadata.get("check", {}))
        given |= {found[1]: found[2] for tag in tags if (found := TAG.match(tag))}
        known = {one.name for one in fields(self)}
        odd = [tag for tag in tags if tag.startswith("check-") and tag != "check-ignore" and not TAG.match(tag)]
        if odd or given.keys() - known:
            name = (odd or sorted(given.keys() - known))[0]
            remedy = "rtol, atol, picture, ignore and columns are known"
            raise InvalidParameter("the cell's tolerance", "a setting of the checker", repr(name), remedy)
        numbers = {name: limit(name, text) for name, text in given.items() if name in ("rtol", "atol", "picture")}
        columns = {name: None if text is None else limit(name, text) for name, text in given.get("columns", {}).items()}
        ignore = "check-ignore" in tags or bool(given.get("ignore", False))
        stated = self.stated or bool({"rtol", "atol"} & numbers.keys())
        return Tolerance(**(asdict(self) | numbers | {"columns": columns, "ignore": ignore, "stated": stated}))

    def around(self, fact: Fact, number: str, spread: float, own: float | None, exact: bool = False) -> float:
        """How far from a number another may be; infinite where the repeats say that it is arbitrary."""
        expected = abs(value(number))
        if not math.isfinite(expected):
            return 0.0
        size = max(expected, fact.scale)
        if math.isinf(spread) or (spread and SPREAD * spread > max(size, self.atol)):
            return math.inf
        if exact and own is None and not self.stated:
            return SPREAD * spread
        rtol = max(self.rtol if own is None else own, fact.rtol)
        return max(rtol * size, self.atol, last_place(number), SPREAD * spread)


def limit(name: str, text: object) -> float:
    try:
        number = float(str(text))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InvalidParameter(f"the cell's {name}", "a number of at least 0", repr(text), "such as check-rtol=0.1")
    return number


@dataclass(frozen=True)
class Known:
    """A fact as several runs agree on it."""

    fact: Fact
    spread: tuple[float, ...] = ()  # largest minus smallest, for each number; empty: none
    wobble: float = 0.0  # the largest difference of the pictures
    varies: tuple[str, ...] = ()  # parts that the runs do not share: presence, words, numbers

    def packed(self) -> dict:
        """A JSON-able record, without what is empty."""
        record = asdict(self.fact) | {"spread": self.spread, "wobble": self.wobble, "varies": self.varies}
        return {name: part for name, part in record.items() if part}

    @classmethod
    def unpacked(cls, record: Mapping[str, Any]) -> "Known":
        parts = {name: tuple(part) if isinstance(part, list) else part for name, part in record.items()}
        own = {name: parts.pop(name) for name in ("spread", "wobble", "varies") if name in parts}
        return cls(Fact(**parts), **own)


def merged(runs: Sequence[Facts]) -> dict[str, Known]:
    """What several runs of one cell share, each number the one nearest to the median of the runs."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: agreed([run[name] for run in runs if name in run], len(runs)) for name in names}


def agreed(facts: Sequence[Fact], runs: int) -> Known:
    first, varies = facts[0], []
    if len(facts) < runs:
        varies.append("presence")
    if len({fact.words for fact in facts}) > 1:
        varies.append("words")
    if len({len(fact.numbers) for fact in facts}) > 1:
        return Known(first, varies=(*varies, "numbers"))
    columns = list(zip(*(fact.numbers for fact in facts)))
    spread = [apart([value(word) for word in words]) for words in columns]
    middle = tuple(sorted(words, key=value)[len(words) // 2] for words in columns)
    pictures = [fact.picture for fact in facts if fact.picture]
    wobble = max((difference(pictures[0], other) for other in pictures[1:]), default=0.0)
    scale = statistics.median(fact.scale for fact in facts)
    if scale:  # of one curve: where it varies is chance, and at the ends of its axis it never seems to
        spread = [0.0 if counts(word) else max(spread, default=0.0) for word in middle]
    fact = Fact(first.words, middle, first.picture, scale, first.rtol)
    return Known(fact, tuple(spread) if any(spread) else (), round(wobble, 4), tuple(varies))


def apart(values: Sequence[float]) -> float:
    """Largest minus smallest; infinite where some are finite and some are not."""
    finite = [one for one in values if math.isfinite(one)]
    if len(finite) < len(values):
        return math.inf if finite or len({str(one) for one in values}) > 1 else 0.0
    return float(f"{max(finite) - min(finite):.3g}")


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was."""

    what: str
    expected: str
    found: str
    tolerance: str = ""

    def __str__(self) -> str:
        told = f"{self.what}: expected {self.expected}, found {self.found}"
        return f"{told}; tolerance {self.tolerance}" if self.tolerance else told


def differences(known: Mapping[str, Known], found: Facts, tolerance: Tolerance) -> list[Difference]:
    """What differs in a cell, the first of each kind; of a lost or another output the parts are not told as well."""
    told: dict[str, Difference] = {}
    for name in dict.fromkeys([*known, *found]):
        if any(name.startswith(f"{whole}: ") for whole in told):
            continue
        one = difference_of(name, known.get(name), found.get(name), tolerance)
        if one:
            told[name] = one
    return list(told.values())


def difference_of(name: str, known: Known | None, found: Fact | None, tolerance: Tolerance) -> Difference | None:
    if known is None:
        shown = warned("", found.words) or f"{short(read_again(found)) or 'a picture'!r}"
        return Difference(name, "nothing", shown)
    if not compared(name, known, tolerance) or (found is None and "presence" in known.varies):
        return None
    if found is None:
        return Difference(name, repr(short(read_again(known.fact)) or "a picture"), "nothing")
    if "words" not in known.varies and known.fact.words != found.words:
        return other_words(name, known.fact, found)
    if "numbers" not in known.varies and (one := other_numbers(name, known, found, tolerance)):
        return one
    return other_picture(name, known, found, tolerance)


def compared(name: str, known: Known, tolerance: Tolerance) -> int:
    """How many statements of a fact can be compared."""
    return sum(part for part, _ in statements(name, known, tolerance))


def statements(name: str, known: Known, tolerance: Tolerance) -> Iterator[tuple[int, str]]:
    """For each statement of a fact 1 where it can be compared, else 0, and the reason why not."""
    column, fact = COLUMN.search(name), known.fact
    own = tolerance.columns.get(column[1], 0.0) if column else 0.0
    if own is None or tolerance.ignore:
        yield from [(0, "as stated")] * (bool(fact.words) + len(fact.numbers) + bool(fact.picture))
        return
    if fact.words:
        yield (0, "its words vary") if "words" in known.varies else (1, "")
    for number, spread in zip(fact.numbers, known.spread or [0.0] * len(fact.numbers)):
        arbitrary = "numbers" in known.varies or math.isinf(tolerance.around(fact, number, spread, own or None))
        yield (0, "its numbers vary") if arbitrary else (1, "")
    if fact.picture:
        yield (0, "its picture varies") if known.wobble * SPREAD > 1 else (1, "")


def other_words(name: str, expected: Fact, found: Fact) -> Difference:
    new = warned(expected.words, found.words)
    if new:
        return Difference(name, "no such warning", new)
    first, second = read_again(expected).split(), read_again(found).split()
    pairs = list(zip(expected.words.split(), found.words.split()))
    place = next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))
    return Difference(name, *(repr(short(" ".join(words[place : place + 8]))) for words in (first, second)))


def warned(expected: str, found: str) -> str:
    """The line of the first warning that is new."""
    for name in warnings(found):
        if name not in warnings(expected):
            return next(short(line.strip()) for line in found.split("\n") if name in line)
    return ""


def other_numbers(name: str, known: Known, found: Fact, tolerance: Tolerance) -> Difference | None:
    fact, column = known.fact, COLUMN.search(name)
    own = tolerance.columns.get(column[1]) if column else None
    if len(fact.numbers) != len(found.numbers):
        return Difference(name, f"{len(fact.numbers)} numbers", f"{len(found.numbers)}")
    off = []
    for number, spread, other in zip(fact.numbers, known.spread or [0.0] * len(fact.numbers), found.numbers):
        exact = counts(number) and counts(other)
        allowed = tolerance.around(fact, number, spread, own, exact)
        first, second = value(number), value(other)
        if (math.isnan(first) and math.isnan(second)) or first == second:
            continue
        if math.isinf(allowed) and (math.isfinite(second) or math.isinf(spread)):
            continue
        if not abs(first - second) <= allowed * (1 + 1e-9):
            off.append((number, other, allowed))
    if not off:
        return None
    number, other, allowed = off[0]
    more = f" and {len(off) - 1} more of {len(fact.numbers)}" if len(off) > 1 else ""
    return Difference(name, number, other + more, f"{allowed:.3g}")


def other_picture(name: str, known: Known, found: Fact, tolerance: Tolerance) -> Difference | None:
    if not known.fact.picture or not found.picture:
        return None
    allowed = max(tolerance.picture, SPREAD * known.wobble)
    apart = difference(known.fact.picture, found.picture)
    if allowed > 1 or apart <= allowed:
        return None
    return Difference(name, "the same picture", f"a difference of {apart:.2f} of its contrast", f"{allowed:.2g}")


def short(text: str, length: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
