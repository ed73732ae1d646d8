"""Coloured images and grey ones of the same materials: what a network learnt from colour, grey values can ask for.

A material has a hue in nature, whatever its brightness, and an attenuation in a grey image. The attenuations are in
another order than the hues, and the findings ask for materials that are no neighbours in grey: no threshold tells
them. Texture is seen in both.
"""

import colorsys
from typing import Literal

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.radiograph.cases import DEFAULT, Options, Picture, assembled, chosen_labels
from workbench.data.radiograph.phantoms import grid, soft

HUES = (0.0, 0.25, 0.5, 0.75)  # of the materials, in turns of the colour circle
GREYS = (0.36, 0.92, 0.55, 0.73)  # their attenuation
TEXTURES = ("striped", "mottled")
CLASSES = tuple(f"{material}_{texture}" for material in ("red", "lime", "cyan", "violet") for texture in TEXTURES)
LABELS = ("mineral", "fluid", "fibre")
SITES = {"a": (1.0, 1.0, 0.015), "b": (0.92, 0.85, 0.03)}  # gain, gamma and noise of a site
Colour = Literal["natural", "materials"]


def findings_of(material: int, texture: int) -> np.ndarray:
    """The findings (3,) of a material: two that ask for materials alone, one for texture too."""
    return np.array([material in (0, 3), material in (0, 1), texture == 0 and material in (1, 2)], np.int8)


def natural(options: Options = DEFAULT) -> Data:
    """RGB images of one object each; hue and texture make its class, brightness and place do not."""
    return made(options, "natural", chosen_labels(options, CLASSES), CLASSES)


def materials(options: Options = DEFAULT) -> Data:
    """Grey images of one object each, in air; its findings follow from material and texture by another rule."""
    return made(options, "materials", chosen_labels(options, LABELS), LABELS)


def made(options: Options, kind: Colour, names: list[str], known: tuple[str, ...]) -> Data:
    columns = [known.index(name) for name in names]
    splits = {
        name: pictures(number, getattr(options, name), name, kind, columns, options)
        for number, name in enumerate(("train", "valid", "test"))
    }
    return assembled(kind if kind == "natural" else f"{kind}-{options.site}", splits, names, options)


def pictures(number: int, count: int, split: str, kind: Colour, columns: list[int], options: Options) -> list[Picture]:
    """The first `count` images of a split, each with random numbers of its own."""
    found, site = [], "ab".index(options.site)
    for item in range(count):
        rng = np.random.default_rng([options.data_seed, 17 if kind == "natural" else 19, site, number, item])
        material, texture = int(rng.integers(len(HUES))), int(rng.integers(len(TEXTURES)))
        shape, relief = object_of(rng, options.size, texture)
        if kind == "natural":
            image = coloured(rng, shape, relief, HUES[material])
            findings = np.eye(len(CLASSES), dtype=np.int8)[material * len(TEXTURES) + texture]
        else:
            image = exposed(rng, shape, relief, GREYS[material], options.site)
            findings = findings_of(material, texture)
        pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
        case = f"{split}-{item:04d}"
        found.append(Picture(pixels, findings[columns], case, case))
    return found


def object_of(rng: np.random.Generator, size: int, texture: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the object is, (S, S) in [0, 1], and its relief (S, S) of mean 0 and spread 1: stripes or spots."""
    x, y = grid(size)
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * x + np.sin(turn) * y
    across = np.cos(turn) * y - np.sin(turn) * x
    place, axes = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.45, 0.75, 2)
    shape = soft((1 - np.hypot((along - place[0]) / axes[0], (across - place[1]) / axes[1])) * axes.min(), 0.1)
    if texture == 0:
        relief = np.sqrt(2) * np.sin(2 * np.pi * (rng.uniform(2.4, 3.2) * across + rng.random()))
    else:
        relief = ndimage.gaussian_filter(rng.normal(size=(size, size)), 0.065 * size / 2, mode="reflect")
        relief = (relief - relief.mean()) / relief.std()
    return shape, relief


def coloured(rng: np.random.Generator, shape: np.ndarray, relief: np.ndarray, hue: float) -> np.ndarray:
    """An RGB image (3, S, S) in about [0, 1]; the object before a background of little colour."""
    pure = np.array(colorsys.hsv_to_rgb((hue + rng.normal(0, 0.02)) % 1, rng.uniform(0.5, 0.95), 1.0))
    paper = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.12), 1.0)) * rng.uniform(0.05, 0.95)
    bright = rng.uniform(0.4, 0.85) * (1 + 0.3 * relief)
    image = shape * pure[:, None, None] * bright + (1 - shape) * paper[:, None, None]
    return image + 0.02 * rng.normal(size=image.shape)


def exposed(rng: np.random.Generator, shape: np.ndarray, relief: np.ndarray, grey: float, site: str) -> np.ndarray:
    """A grey image (1, S, S) in about [0, 1] as a site takes it; air around is almost black."""
    gain, gamma, noise = SITES[site]
    inner = (grey + rng.normal(0, 0.015)) * (1 + 0.07 * relief)
    image = gain * np.clip(shape * inner + (1 - shape) * 0.05, 0, None) ** gamma
    return (image + noise * rng.normal(size=image.shape))[None]
