"""Phantoms: bodies whose organs come in pairs of equal grey and different colour, told apart by texture or side."""

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.anatomy.slices import LUMA, SHOWN, Options, Slice, cases

# Three pairs of organs. Both of a pair have the same luma and the offsets have none, so that grey tells nothing.
PAIRS = (
    # luma, offset of one, offset of the other, how they are told apart
    (0.38, (0.26, -0.12, -0.06), (-0.10, -0.03, 0.42), "texture"),
    (0.52, (0.30, -0.17, 0.09), (-0.22, 0.13, -0.09), "texture"),
    (0.66, (0.18, -0.02, -0.37), (-0.16, 0.02, 0.32), "side"),
)
MUSCLE = (0.45, (0.12, -0.05, -0.06))
CLASSES = 2 * len(PAIRS) + 1


def phantom(options: Options = Options()) -> Data:
    """Bodies with 3 to 5 organs, on black or white with clutter; no two cases share their random numbers."""
    counts = {"train": options.train, "valid": options.valid, "test": options.test}
    splits = {}
    for number, (name, count) in enumerate(counts.items()):
        rngs = [np.random.default_rng([options.data_seed, number, item]) for item in range(count)]
        slices = [body(rng, options.size, f"{name}-{item:04d}") for item, rng in enumerate(rngs)]
        splits[name] = cases(slices, options, every=name != "train", clutter=True)
    return Data("phantom", **splits, spec={"size": options.size, "regions": CLASSES}, shown=SHOWN)


def body(rng: np.random.Generator, size: int, case: str) -> Slice:
    """One phantom: an ellipse of muscle with organs, each pixel coloured as its class says."""
    classes = np.full((size, size), -1)
    outline = blob(rng, size, center=rng.uniform(0.45, 0.55, 2), radii=rng.uniform(0.30, 0.40, 2))
    classes[outline] = CLASSES - 1
    kinds = rng.permutation(CLASSES - 1)[: rng.integers(3, 6)]
    for kind in kinds:
        classes[organ(rng, size, kind) & ndimage.binary_erosion(outline, iterations=max(1, size // 32))] = kind
    color = np.zeros((size, size, 3))
    for kind in np.unique(classes[outline]):
        color[classes == kind] = paint(rng, size, int(kind))[classes == kind]
    region = np.bincount(classes[outline], minlength=CLASSES) / outline.sum()
    return Slice(np.clip(color, 0, 1), outline, region, case, case)


def organ(rng: np.random.Generator, size: int, kind: int) -> np.ndarray:
    """The outline of an organ; the members of a pair told apart by side keep to their side of the body."""
    center = rng.uniform(0.30, 0.70, 2)
    if PAIRS[kind // 2][3] == "side":
        center[1] = rng.uniform(0.27, 0.41) if kind % 2 == 0 else rng.uniform(0.59, 0.73)
    return blob(rng, size, center=center, radii=rng.uniform(0.09, 0.16, 2))


def blob(rng: np.random.Generator, size: int, *, center: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(H, W) bool: an ellipse with a wavy outline; center and radii are in parts of the side."""
    y, x = np.mgrid[:size, :size] / size
    dy, dx = (y - center[0]) / radii[0], (x - center[1]) / radii[1]
    angle, waves = np.arctan2(dy, dx), np.zeros((size, size))
    for frequency in (2, 3, 4):
        waves += rng.uniform(0, 0.07) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    return np.hypot(dy, dx) < 1 + waves


def paint(rng: np.random.Generator, size: int, kind: int) -> np.ndarray:
    """(H, W, 3): the colour of a class with its texture; texture and noise change the luma only, never the offset."""
    luma, *offsets, cue = (*MUSCLE, "none") if kind == CLASSES - 1 else PAIRS[kind // 2]
    offset = np.array(offsets[kind % 2 if len(offsets) > 1 else 0])
    offset = offset - offset @ LUMA  # a step along grey (1, 1, 1) takes away what is left of its luma
    grey = luma + 0.015 * rng.standard_normal((size, size))
    if cue == "texture":
        grey += 0.06 * (stripes(rng, size) if kind % 2 == 0 else speckle(rng, size))
    return grey[..., None] + offset


def stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    angle = rng.uniform(0, np.pi)
    return np.sqrt(2) * np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / 5 + rng.uniform(0, 2 * np.pi))


def speckle(rng: np.random.Generator, size: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.2)
    return noise / noise.std()
