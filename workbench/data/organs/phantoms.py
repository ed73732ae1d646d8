"""Phantoms: blobs of one texture, of which the target lies where a vertical and a horizontal band cross."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.anatomy.phantoms import blob
from workbench.data.organs.slices import DEFAULT, Options, Slice, assembled

SIDE = 96  # pixels of the image that all lengths below are meant for; they grow with it
RADIUS = (5.5, 7.0)  # of a blob
GAP = 7.0  # in the bands around a blob, so that a patch 8 pixels wide does not see the band that runs across it
STEP = (31.0, 35.0)  # from blob to blob along a band: between two of them the bands show
MARGIN = 9.0  # between a blob's centre and the image's border
WIDTH = 6.0  # half of a band's
BLUR = 1.5  # standard deviation of all edges


@dataclass(frozen=True)
class Blob:
    """A blob, its centre (y, x) and radius in pixels, and the bands it lies on; the target lies on both."""

    center: tuple[float, float]
    radius: float
    vertical: bool
    horizontal: bool

    def from_center(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """How far below and to the right of the centre each pixel lies, as (H, 1) and (1, W)."""
        along = np.arange(size)
        return along[:, None] - self.center[0], along[None] - self.center[1]


def phantom(options: Options = DEFAULT) -> Data:
    """Images of one target and a few distractors on one band alone; no two share their random numbers.

    Distractors are drawn as the target is. Bands are fainter than blobs and stop before they reach one: what lies
    within a few pixels of a blob does not tell what it is, and what a narrow patch sees along one band does not either.
    """
    counts = {"train": options.train, "valid": options.valid, "test": options.test}
    splits = {}
    for number, (name, count) in enumerate(counts.items()):
        rngs = [np.random.default_rng([options.data_seed, number, item]) for item in range(count)]
        splits[name] = [subject(rng, options.size, f"{name}-{item:04d}") for item, rng in enumerate(rngs)]
    return assembled("phantom", splits, options)


def subject(rng: np.random.Generator, size: int, case: str) -> Slice:
    image, mask, _ = scene(rng, size)
    return Slice(image, mask, None, case, case)


def scene(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list[Blob]]:
    """An image (H, W) in [0, 1], the mask of its target (H, W) bool, and its blobs, the target first."""
    unit = size / SIDE
    blobs = placed(rng, unit)
    image = 0.25 + 0.04 * texture(rng, size, 10 * unit) + 0.25 * bands(blobs, size)
    for one in blobs[::-1]:
        outline = blob(rng, size, center=np.array(one.center) / size, radii=np.full(2, one.radius / size))
        cover = ndimage.gaussian_filter(outline.astype(float), BLUR * unit)
        image = image * (1 - cover) + (0.75 + 0.06 * texture(rng, size, unit)) * cover
    return np.clip(image + 0.05 * rng.standard_normal(image.shape), 0, 1), outline, blobs


def placed(rng: np.random.Generator, unit: float) -> list[Blob]:
    """The target where the bands cross, and distractors along each of them as far as the image reaches."""
    y, x = rng.uniform(MARGIN, SIDE - MARGIN, 2)
    centers = [(y, x, True, True)]
    for sign in (-1, 1):
        centers += [(at, x + rng.uniform(-1, 1), True, False) for at in along(rng, y, sign)]
        centers += [(y + rng.uniform(-1, 1), at, False, True) for at in along(rng, x, sign)]
    return [Blob((unit * y, unit * x), unit * rng.uniform(*RADIUS), *lies_on) for y, x, *lies_on in centers]


def along(rng: np.random.Generator, start: float, sign: int) -> list[float]:
    """Where the distractors on one side of the target lie."""
    steps = start + sign * np.cumsum(rng.uniform(*STEP, round(SIDE / STEP[0])))
    return [float(at) for at in steps if MARGIN <= at <= SIDE - MARGIN]


def bands(blobs: list[Blob], size: int) -> np.ndarray:
    """(H, W) in [0, 1]: a band down and a band across the whole image through the target, left out around blobs."""
    unit = size / SIDE
    dy, dx = blobs[0].from_center(size)
    drawn = (np.abs(dy) < WIDTH * unit) | (np.abs(dx) < WIDTH * unit)
    for one in blobs:
        drawn &= np.hypot(*one.from_center(size)) > one.radius + GAP * unit
    return ndimage.gaussian_filter(drawn.astype(float), BLUR * unit)


def texture(rng: np.random.Generator, size: int, sigma: float) -> np.ndarray:
    """(H, W) smooth noise of unit variance."""
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma)
    return noise / noise.std()
