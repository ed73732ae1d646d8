"""Which label values are which structure: named by the user, by a table beside the data, or found."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from workbench.data.anatomy3d.layouts import listed, word
from workbench.data.anatomy3d.subjects import Subject
from workbench.errors import InvalidImage, InvalidParameter

DROPPED = "background"
MOST = 255  # label values; more of them are an image


def parse(text: str) -> dict[str, tuple[int, ...]]:
    """Structures with their label values; a bare name takes its place in the list as its value.

    >>> parse("anterior,posterior")
    {'anterior': (1,), 'posterior': (2,)}
    >>> parse("thalamus:10+49,background:24")
    {'thalamus': (10, 49), 'background': (24,)}

    Raises:
        InvalidParameter: no name, a value that is no whole number above 0, or a name or value given twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for place, part in enumerate(text.split(","), 1):
        name, _, values = part.partition(":")
        numbers = [value.strip() for value in values.split("+")] if values else [str(place)]
        wrong = not word(name) or word(name) in found or not all(n.isdecimal() and int(n) for n in numbers)
        if wrong or any(int(n) in taken for n in numbers for taken in found.values()):
            expected, remedy = "names, each once, with label values above 0", "write for example left:1,right:2+3"
            raise InvalidParameter("structures", expected, repr(part), remedy)
        found[word(name)] = tuple(map(int, numbers))
    return found


def resolved(subjects: Sequence[Subject], text: str, names: dict[int, str]) -> tuple[list[str], np.ndarray]:
    """The names of structures 1 to K, and the table from label value to structure.

    Without `structures` they are the values found in the subjects, named by `names` where there are any.

    Raises:
        InvalidImage: values that are not in the map, all listed with their voxels and volumes; or more than 255.
    """
    voxels, volumes = counted(subjects)
    wanted = parse(text) if text else by_name(voxels, names)
    known = {value for values in wanted.values() for value in values}
    outside = sorted(value for value in voxels if value not in known or (not text and names and value not in names))
    if outside:
        counts = [f"{value} ({voxels[value]} voxels in {volumes[value]} label maps)" for value in outside]
        remedy = f"name them with structures=..., or drop them with {DROPPED}:{'+'.join(map(str, outside[:5]))} in it"
        raise InvalidImage(
            "the label maps", f"the values {listed(map(str, sorted(known - set(outside))))}", listed(counts), remedy
        )
    if len(wanted) > MOST:
        raise InvalidImage("the label maps", f"at most {MOST} values", f"{len(wanted)}", "give label maps, not images")
    kept = {name: values for name, values in wanted.items() if name != DROPPED}
    table = np.zeros(1 + max([*known, *voxels]), np.int16)
    for number, values in enumerate(kept.values(), 1):
        table[list(values)] = number
    return list(kept), table


def by_name(values: Iterable[int], names: dict[int, str]) -> dict[str, tuple[int, ...]]:
    """The structures of these values; values of one name are one structure."""
    found: dict[str, tuple[int, ...]] = {}
    for value in sorted(values):
        name = names.get(value, f"label_{value}")
        found[name] = (*found.get(name, ()), value)
    return found


def counted(subjects: Sequence[Subject]) -> tuple[Counter, Counter]:
    """The voxels, and the label maps, that hold each value above 0."""
    voxels, volumes = Counter(), Counter()
    for one in subjects:
        if one.label is not None:
            numbers = np.bincount(one.label.ravel())
            present = np.flatnonzero(numbers[1:]) + 1
            voxels.update({int(value): int(numbers[value]) for value in present})
            volumes.update(map(int, present))
    return voxels, volumes


def lacking(atlas: Subject, names: Sequence[str]) -> list[str]:
    """The structures that an atlas does not show."""
    return [name for number, name in enumerate(names, 1) if not (atlas.label == number).any()]
