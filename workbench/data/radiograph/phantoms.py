"""Phantom radiographs of the chest: lungs, ribs, vessels and heart, and five findings, each by itself."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.radiograph.cases import DEFAULT, Options, Picture, assembled, chosen_labels

LABELS = ("nodule", "opacity", "large_heart", "pleural_line", "effusion")
SHARE = 0.35  # of the images that show a finding, for each of them
SITES = {"a": (1.0, 0.025), "b": (0.75, 0.045)}  # gamma and noise of a site


@dataclass(frozen=True)
class Chest:
    """What the images of one patient share; lengths in half the image's side, origin in the middle, y downwards."""

    lung: tuple[float, float, float, float]  # of each lung: distance from the middle, height of the centre, half axes
    ribs: float  # distance of two ribs
    heart: float  # half width of a heart that is not enlarged
    bright: float  # of the mediastinum


def phantom(options: Options = DEFAULT) -> Data:
    """Radiographs of patients with one or two images each. The number of one split changes no image of another."""
    names = chosen_labels(options, LABELS)
    columns = [LABELS.index(name) for name in names]
    splits = {
        name: pictures(number, getattr(options, name), name, columns, options)
        for number, name in enumerate(("train", "valid", "test"))
    }
    return assembled(f"phantom-{options.site}", splits, names, options)


def pictures(number: int, count: int, split: str, columns: list[int], options: Options) -> list[Picture]:
    found: list[Picture] = []
    patient, site = 0, "ab".index(options.site)
    while len(found) < count:
        rng = np.random.default_rng([options.data_seed, 13, site, number, patient])
        group, chest = f"{split}-{patient:04d}", chest_of(rng)
        for visit in range(1 + patient % 2):
            findings = (rng.random(len(LABELS)) < SHARE).astype(np.int8)
            image = acquired(drawn(rng, chest, findings, options.size), rng, *SITES[options.site])
            found.append(Picture(image, findings[columns], f"{group}-{visit}", group))
        patient += 1
    return found[:count]


def chest_of(rng: np.random.Generator) -> Chest:
    lung = (rng.uniform(0.4, 0.46), rng.uniform(-0.14, -0.04), rng.uniform(0.27, 0.33), rng.uniform(0.6, 0.7))
    return Chest(lung, rng.uniform(0.17, 0.21), rng.uniform(0.2, 0.25), rng.uniform(0.6, 0.7))


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixels' centres, (S, S) each, in [-1, 1]."""
    line = (np.arange(size) + 0.5) / size * 2 - 1
    return np.meshgrid(line, line)


def soft(distance: np.ndarray, width: float = 0.04) -> np.ndarray:
    """1 well inside (above 0), 0 outside."""
    return 1 / (1 + np.exp(np.clip(-distance / (width / 4), -50, 50)))


def clouds(rng: np.random.Generator, size: int, grain: float) -> np.ndarray:
    """Smooth noise (S, S) of mean 0 and spread 1, its grain in half the image's side."""
    noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), grain * size / 2, mode="reflect")
    return (noise - noise.mean()) / noise.std()


def drawn(rng: np.random.Generator, chest: Chest, findings: np.ndarray, size: int) -> np.ndarray:
    """The radiograph (S, S), about [0, 1], of a chest with these findings (5,) 0 or 1."""
    x, y = grid(size)
    nodule, opacity, large, line, effusion = findings
    out, high, wide, tall = chest.lung
    inside = [1 - np.hypot((x - side * out) / wide, (y - high) / tall) for side in (-1, 1)]  # above 0 in a lung
    lung = np.maximum(*(soft(depth * wide) for depth in inside))
    image = chest.bright - 0.38 * lung + 0.02 * clouds(rng, size, 0.08)
    image += 0.025 * lung * clouds(rng, size, 0.02)  # vessels
    image += ribs(chest, x, y, lung, rng.uniform(0, 1))
    half = chest.heart * (rng.uniform(1.5, 1.75) if large else rng.uniform(0.92, 1.08))
    heart = 1 - np.hypot((x - 0.1) / half, (y - 0.32) / (0.7 * half + 0.08))
    image += 0.3 * soft(heart * half) * lung
    side = int(rng.integers(2))
    sign, depth = (-1, 1)[side], inside[side]
    if nodule:
        turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.6)
        center = (sign * out + far * wide * np.cos(turn), high + far * tall * np.sin(turn))
        image += rng.uniform(0.2, 0.28) * soft(rng.uniform(0.075, 0.1) - np.hypot(x - center[0], y - center[1]), 0.06)
    if opacity:
        center = (-sign * (out + rng.uniform(-0.1, 0.1)), high + rng.uniform(-0.3, 0.3))
        cloud = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * rng.uniform(0.17, 0.24) ** 2))
        image += rng.uniform(0.16, 0.22) * cloud * lung * (1 + 0.5 * clouds(rng, size, 0.06))
    if line:
        rim = rng.uniform(0.2, 0.3)  # the lung's border has come off the chest's wall, and air is between them
        outer = (sign * x > out) & (y < high + 0.3 * tall)
        image += outer * (0.24 * np.exp(-(((depth - rim) * wide / 0.022) ** 2)) - 0.1 * soft(rim - depth) * lung)
    if effusion:
        level = high + tall * rng.uniform(0.35, 0.55)  # and it rises at the outer wall
        rise = level - 0.25 * np.clip(-sign * (x + sign * out) / wide, -1, 1)
        image += 0.32 * lung * (sign * x < 0) * np.clip((y - rise) / 0.3, 0, 1)
    return image


def ribs(chest: Chest, x: np.ndarray, y: np.ndarray, lung: np.ndarray, phase: float) -> np.ndarray:
    """Thin bright arcs that fall outwards."""
    arc = y - 0.5 * np.abs(x) ** 1.5
    return 0.07 * lung * np.exp(-((((arc / chest.ribs + phase) % 1 - 0.5) * chest.ribs / 0.03) ** 2))


def acquired(image: np.ndarray, rng: np.random.Generator, gamma: float, noise: float) -> np.ndarray:
    """As a detector shows it, (1, S, S) uint8: gain and gamma vary, noise is added."""
    image = np.clip(image * rng.uniform(0.85, 1.15), 0, 1) ** (gamma * rng.uniform(0.85, 1.2))
    image = np.clip(image + noise * rng.normal(size=image.shape), 0, 1)
    return np.round(255 * image).astype(np.uint8)[None]
