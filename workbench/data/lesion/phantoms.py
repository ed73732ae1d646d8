"""Phantom lesions in four pairs: colour and shape tell the pairs apart, the border the two classes of a pair.

What tells nothing varies too: the skin, the light's strength, colour and direction, place, size, turn, texture, hairs.
"""

import math

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.lesion.cases import CLASSES, COMMON, SIMILARITY, Image, Options, assembled, interleaved, shares

DEFAULT = Options()
DRAWN = 96  # side that is drawn at least, pixels, before it is averaged down
SKIN = (0.85, 0.66, 0.56)  # sRGB
COLORS = ((0.66, 0.46, 0.32), (0.45, 0.29, 0.21), (0.68, 0.33, 0.31), (0.44, 0.41, 0.46))  # of the pairs
SMOOTH, JAGGED = (0.0, 0.04), (0.10, 0.18)  # amplitude of the border waves in radii, within each pair
TWICE = 4  # every fourth lesion is shown in two images


def phantom(options: Options = DEFAULT) -> Data:
    """Lesions for train (imbalanced), valid and test (balanced), each split with its own.

    The number of one split changes no image of another. Every pair has a common and a rarer class; so many images of
    each class as `shares` says.
    """
    splits = {}
    for number, (name, imbalance) in enumerate({"train": options.imbalance, "valid": 1.0, "test": 1.0}.items()):
        counts = dict(zip(COMMON, shares(getattr(options, name), len(CLASSES), imbalance)))
        made = {kind: drawn(name, (options.data_seed, 11, number), kind, counts[kind], options.size) for kind in counts}
        splits[name] = interleaved(made)
    return assembled("phantom", splits, CLASSES, SIMILARITY)


def drawn(split: str, seed: tuple[int, ...], kind: int, count: int, size: int) -> list[Image]:
    """`count` images of one class, lesion by lesion."""
    images: list[Image] = []
    lesion = 0
    while len(images) < count:
        group = f"{split}-{kind}-{lesion:04d}"
        rng = np.random.default_rng([*seed, kind, lesion])
        waves = outline(rng, kind)
        for view in range(1 + (lesion % TWICE == 0)):
            images.append(Image(picture(rng, kind, waves, size), CLASSES[kind], f"{group}-{view}", group))
        lesion += 1
    return images[:count]


def outline(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, float, float]:
    """What stays from image to image of a lesion: phases and weights of its border's waves, their height, its size."""
    waves = np.stack([rng.uniform(0, 2 * math.pi, 5), rng.uniform(0.4, 1.0, 5)])
    return waves, rng.uniform(*(JAGGED if kind % 2 else SMOOTH)), rng.uniform(0.24, 0.33)


def picture(rng: np.random.Generator, kind: int, lesion: tuple, size: int) -> np.ndarray:
    """One image (size, size, 3) uint8 of a lesion: its own colour and light, place and turn."""
    side = size * math.ceil(DRAWN / size)
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    inside = soft(level(rng, kind // 2, lesion, x, y), rng.uniform(0.02, 0.03))
    color = np.array(COLORS[kind // 2]) * rng.normal(1, 0.07, 3)
    spots = grain(rng, side, 0.03) * rng.uniform(0.01, 0.05) + grain(rng, side, 0.10) * rng.uniform(0.03, 0.10)
    skin = np.array(SKIN) * rng.normal(1, 0.05, 3) * rng.uniform(0.85, 1.1)
    image = skin * (1 + 0.04 * grain(rng, side, 0.05)[..., None])
    image = image + inside[..., None] * (color * (1 + spots[..., None]) - image)
    image = hairs(rng, image, x, y)
    return reduced(lit(rng, image, x, y), size)


def level(rng: np.random.Generator, pair: int, lesion: tuple, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """About the distance (side, side) outside of the lesion's border, in sides; below 0 inside."""
    (phases, weights), height, radius = lesion
    turn, radius = rng.uniform(0, 2 * math.pi), radius * rng.uniform(0.9, 1.1)
    dx, dy = x - rng.uniform(0.42, 0.58), y - rng.uniform(0.42, 0.58)
    u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    angle = np.arctan2(v, u)
    waves = sum(w * np.sin(n * angle + p) for n, (p, w) in enumerate(zip(phases, weights), 6)) / np.linalg.norm(weights)
    return (shape(pair, u, v) - radius * (1 + 1.4 * height * waves)) * 0.9


def shape(pair: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A radius of each place that is constant along the pair's outline: disc, ellipse, three lobes, crescent."""
    distance, angle = np.hypot(u, v), np.arctan2(v, u)
    if pair == 0:
        return distance
    if pair == 1:
        return np.hypot(u / 1.35, v * 1.35)
    if pair == 2:
        return distance / (1 + 0.22 * np.cos(3 * angle))
    return np.maximum(distance / 1.1, 0.52 - np.hypot(u + 0.30, v))


def soft(distance: np.ndarray, edge: float) -> np.ndarray:
    """1 inside (below 0), 0 outside, over an edge of this width."""
    return 1 / (1 + np.exp(np.clip(distance * 4 / edge, -50, 50)))


def grain(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Smooth noise (side, side) of mean 0 and deviation 1; spots are about `width` sides wide."""
    noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), width * side / 2, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def hairs(rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Perhaps a thin dark line across the image."""
    for _ in range(rng.integers(0, 2)):
        turn, offset = rng.uniform(0, math.pi), rng.uniform(-0.35, 0.35)
        distance = np.abs((x - 0.5) * math.cos(turn) + (y - 0.5) * math.sin(turn) - offset)
        image = image * (1 - 0.5 * np.exp(-((distance / 0.008) ** 2)))[..., None]
    return image


def lit(rng: np.random.Generator, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Under light of another strength, colour and direction, with the camera's noise."""
    turn, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.3)
    slope = 1 + fall * ((x - 0.5) * math.cos(turn) + (y - 0.5) * math.sin(turn))
    image = image * rng.uniform(0.75, 1.15) * rng.normal(1, 0.05, 3) * slope[..., None]
    return np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1)


def reduced(image: np.ndarray, size: int) -> np.ndarray:
    """Means of whole squares of pixels, (size, size, 3) uint8."""
    step = len(image) // size
    return np.round(255 * image.reshape(size, step, size, step, 3).mean((1, 3))).astype(np.uint8)
