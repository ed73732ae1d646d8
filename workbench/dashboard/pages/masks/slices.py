"""From the arrays of a slice to what its pictures are given: images, layers of codes, strokes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.views import colors, masks, volumes

BLANK = np.zeros((1, 1), np.uint8)
CROSS = ("#ffffffa0", 1.0, "solid")

Arrays = Mapping[str, np.ndarray]


def layers(names: Sequence[str]) -> list[str]:
    """The columns that hold layers, for runs of these names."""
    return ["truth", *(f"layer_{name}" for name in names), *(f"error_{name}" for name in names)]


@dataclass(frozen=True)
class Look:
    """How slices are shown.

    Args:
        shown: the classes to be seen.
        focus: the class whose errors are drawn.
        style: `Contours`, `Filled` or, with all pictures of runs as maps of errors, `Errors`.
        truth: whether contours of the truth are drawn on the runs too.
        below: whether there are pictures of errors beside those of the style.
    """

    labels: masks.Labels
    shown: Sequence[str]
    focus: str
    style: str
    truth: bool
    below: bool

    def wrong(self, arrays: Arrays) -> np.ndarray:
        """The errors of the class in focus, as of `masks.errors`."""
        return masks.errors(arrays["label"], arrays["mask"], self.labels[self.focus])

    def images(self, found: Mapping[str, Arrays]) -> dict[str, np.ndarray]:
        """The columns of one slice, for the arrays of every run by its name; the image is that of the first."""
        first, filled = next(iter(found.values())), self.style == "Filled"
        image = first["image"]
        made = {"image": image} if image.ndim == 2 else {"image": colors.rgba(image), "luma": masks.grey(image)}
        made["truth"] = self.codes(first["label"]) if filled else BLANK
        for name, arrays in found.items():
            wrong = self.wrong(arrays) if self.below or self.style == "Errors" else BLANK
            wrong = np.where(wrong > 0, wrong + np.uint8(len(self.labels)), wrong)  # their codes follow the classes'
            seen = self.codes(arrays["mask"]) if filled else BLANK
            made |= {f"layer_{name}": wrong if self.style == "Errors" else seen}
            made |= {f"error_{name}": wrong if self.below else BLANK}
        return made

    def codes(self, label: np.ndarray) -> np.ndarray:
        return masks.codes(label, self.labels, self.shown)

    def lines(self, found: Mapping[str, Arrays], cross: Sequence[np.ndarray] = ()) -> dict[str, list[masks.Stroke]]:
        """The strokes of one slice, y from its lower edge in mm: of the truth alone and of every run by its name.

        Args:
            cross: paths that are drawn over all pictures as they are.
        """
        first = next(iter(found.values()))
        height = volumes.lengths(first["label"].shape, first["spacing"])[0]
        made = {"truth": [] if self.style == "Filled" else self.contours(first, "label")}
        for name, arrays in found.items():
            made[name] = self.contours(arrays, "mask") if self.style == "Contours" else []
            made[name] += self.contours(arrays, "label") if self.truth and self.style != "Errors" else []
        over = [(path, *CROSS) for path in cross]
        return {
            name: [(np.c_[path[:, 0], height - path[:, 1]], *look) for path, *look in drawn] + over
            for name, drawn in made.items()
        }

    def contours(self, arrays: Arrays, which: str) -> list[masks.Stroke]:
        return masks.strokes(arrays[which], self.labels, self.shown, arrays["spacing"], truth=which == "label")


def messages(found: Mapping[str, Arrays], labels: masks.Labels) -> list[str]:
    """What is odd about the label maps of one slice: values of no class, and truths that differ between runs."""
    told, first = [], next(iter(found))
    for name, arrays in found.items():
        for which in ("label", "mask"):
            strange = masks.strangers(arrays[which], labels)
            if strange:
                values = ", ".join(f"{value} ({count} pixels)" for value, count in strange.items())
                told.append(f"{name}: {which}.npy has values of no class, drawn as background: {values}.")
        if name != first and not np.array_equal(arrays["label"], found[first]["label"]):
            told.append(f"{first} and {name} hold unlike truths of this case; each is compared with its own.")
    return told
