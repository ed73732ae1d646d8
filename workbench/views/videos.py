"""Videos: a clip before and after it was translated, contours of what was found in every frame, and how it flickers.

A clip is (T, H, W, 3) uint8 and a label map (T, H, W) uint8, T being the frames of the clip's own: those that only fill
up the array of a shorter clip are left out. Distances are in pixels from the top left corner.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from workbench import views
from workbench.errors import InvalidRun
from workbench.views import colors, masks

if TYPE_CHECKING:
    from workbench.runs import Run

NEEDS = {"image": 5, "color": 5, "label": 4, "mask": 4}
LENGTH = "length"  # the frames of each clip; where a run did not keep it, all are the clip's own
TRUTH, FOUND = "#ffffff", ("#56B4E9", "#E69F00")  # told apart on mucosa by colour-blind readers too
CHANNELS = ("mean", "red", "green", "blue")
STEADY = "steady_"  # begins the names of what is less its mean over the frames: only what flickers is left


def check(run: "Run") -> None:
    """Raises InvalidRun where classes, spacing or lengths of clips cannot be what they should."""
    masks.check(run)
    if LENGTH in run.samples.keys:
        length, label = run.samples.array(LENGTH), run.samples.array("label")
        expected = f"{len(label)} whole numbers from 1 to {label.shape[1]}"
        if length.shape != (len(label),) or not np.isin(length, np.arange(1, label.shape[1] + 1)).all():
            found = f"{length.shape} of {length.dtype}, or other values"
            raise InvalidRun(run.samples.path / f"{LENGTH}.npy", expected, found, views.REMEDY)


def read(run: "Run", case: tuple[str, str]) -> dict[str, np.ndarray | None]:
    """`image` and `color` (T, H, W, 3), `mask` and `label` (T, H, W) of one clip; `label` None where it has none.

    Raises:
        InvalidParameter: the run was not tested on this case.
        InvalidRun: an array cannot be read.
    """
    place = masks.number(run, case)
    arrays = {name: run.samples.array(name)[place] for name in NEEDS}
    own = int(run.samples.array(LENGTH)[place]) if LENGTH in run.samples.keys else len(arrays["image"])
    found = {name: np.array(array[:own]) for name, array in arrays.items()}
    return found | ({} if labelled(run, case) else {"label": None})


def labelled(run: "Run", case: tuple[str, str]) -> bool:
    """Whether the truth of a clip is known: without it there is no Dice."""
    return bool(np.isfinite(colors.numbers(views.scores(run), case).get("dice", 0.0)))


def change(color: np.ndarray, image: np.ndarray) -> np.ndarray:
    """How the mean colour of every frame was changed, (T, 3) from -1 to 1: output less input.

    >>> change(np.full((2, 1, 1, 3), 255, np.uint8), np.zeros((2, 1, 1, 3), np.uint8)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    return (color.mean((1, 2)) - image.mean((1, 2))) / 255


def flicker(changes: np.ndarray) -> float:
    """The standard deviation over the frames of (T, 3) changes, mean over channels: 0 where all are changed alike."""
    return float(changes.std(0).mean())


def curves(changes: np.ndarray) -> dict[str, np.ndarray]:
    """The changes (T, 3) of each of CHANNELS, as they are and, under STEADY, less their mean."""
    columns = np.c_[changes.mean(1), changes].T
    plain = dict(zip(CHANNELS, columns, strict=True))
    return plain | {STEADY + name: values - values.mean() for name, values in plain.items()}


def outlines(label: np.ndarray | None, values: Iterable[int]) -> list[list[np.ndarray]]:
    """The borders of all classes in every frame of (T, H, W), as paths (n, 2) of x, y; of no label map no frames."""
    values = list(dict.fromkeys(values))
    frames = [] if label is None else label
    return [[path for value in values for path in colors.outline(frame == value)] for frame in frames]


def unlike(clips: Mapping[str, Mapping[str, np.ndarray | None]]) -> list[str]:
    """Says so where runs, by their letters, hold another clip or truth under the same name than the first does."""
    told, first = [], next(iter(clips))
    for letter, clip in clips.items():
        for key, name in (("image", "originals"), ("label", "truths")):
            if not same(clip[key], clips[first][key]):
                told.append(f"{first} and {letter} hold unlike {name} of this case; each is compared with its own.")
    return told


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def values(run: "Run") -> list[int]:
    """All values of the classes of a run."""
    return [value for values in masks.labels(run).values() for value in values]


def drawn(runs: Sequence["Run"], letters: Sequence[str], case: tuple[str, str]) -> dict[str, dict]:
    """What a player shows of one case: `pictures`, `outlines` and `curves` by name; and `clips`, as read, by letter.

    Raises:
        InvalidParameter, InvalidRun: as `read`.
    """
    clips = {letter: read(run, case) for letter, run in zip(letters, runs, strict=True)}
    first, classes = next(iter(clips.values())), values(runs[0])
    pictures = {"original": first["image"]} | {letter: clip["color"] for letter, clip in clips.items()}
    lines = {"truth": outlines(first["label"], classes)}
    lines |= {letter: outlines(clip["mask"], classes) for letter, clip in clips.items()}
    changes = {letter: curves(change(clip["color"], clip["image"])) for letter, clip in clips.items()}
    return {"pictures": pictures, "outlines": lines, "curves": changes, "clips": clips}
