"""Heads in CT, asymmetric so that the place and the pose of every part can be told, with a haemorrhage of one cause.

Positions are in parts of the half side, from -1 to 1: x to the patient's right, y to the front, z to the head.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.headct.cases import DEFAULT, SPLITS, Head, Options, assembled

CLASSES = ("aneurysm", "malformation", "moyamoya", "hypertension")
STRUCTURES = ("ventricle", "haemorrhage")
SKULL = (0.84, 0.96, 0.88)  # outer radii
INNER = 0.88  # of the skull's radius: where the brain begins
CORTEX = 0.74  # of the skull's radius: where grey matter ends
BONE, GREY, WHITE, FLUID, AIR, BLOOD = 0.95, 0.48, 0.40, 0.18, 0.04, 0.85
PARTS = (  # grey, centre, radii: no two octants look alike, and none looks like another one turned
    (FLUID, (-0.17, 0.10, 0.14), (0.11, 0.34, 0.20)),  # the larger ventricle, left
    (FLUID, (0.13, 0.04, 0.10), (0.07, 0.24, 0.12)),  # the smaller, right
    (0.58, (0.30, 0.28, -0.02), (0.12, 0.16, 0.14)),  # a dense nucleus, right and front
    (0.32, (-0.42, -0.34, 0.34), (0.16, 0.13, 0.16)),  # an old infarct, left, back and up
    (AIR, (0.06, 0.76, -0.30), (0.22, 0.12, 0.16)),  # a sinus, front and down
    (0.60, (0.00, -0.12, -0.62), (0.13, 0.13, 0.24)),  # the brain stem
)
CEREBELLUM = ((0.04, -0.58, -0.44), (0.44, 0.26, 0.24))
FOLDS = 9.0  # radians a half side of the cerebellum's stripes
BIAS, NOISE = 0.12, 0.035  # the noise is a standard deviation, grey


def phantom(options: Options = DEFAULT) -> Data:
    """As many heads of each class in every split (but for a rest); volumes of other splits share nothing with them."""
    counts = tuple(getattr(options, name) for name in SPLITS)
    splits = dict(zip(SPLITS, drawn(options.data_seed, options.sides, counts)))
    return assembled("phantom", splits, CLASSES, STRUCTURES, options)


@functools.lru_cache(maxsize=2)
def drawn(seed: int, sides: tuple[int, ...], counts: tuple[int, ...]) -> tuple[tuple[Head, ...], ...]:
    """The heads of each split; kept, because the stages and arms of a study want the same ones."""
    found = []
    for part, (name, count) in enumerate(zip(SPLITS, counts)):
        rngs = (np.random.default_rng([seed, part, item]) for item in range(count))
        heads = (head(rng, item % len(CLASSES), sides, f"{name}-{item:04d}") for item, rng in enumerate(rngs))
        found.append(tuple(heads))
    return tuple(found)


def head(rng: np.random.Generator, kind: int, sides: Sequence[int], case: str) -> Head:
    """One head, turned, scaled and shifted a little, with a bias field and noise; label 1 ventricles, 2 the blood."""
    at = placed(rng, sides)
    grey, fluid = anatomy(rng, at)
    blood = HAEMORRHAGES[kind](rng, at)
    grey = specks(rng, at, grey)
    grey = grey * (1 - blood) + BLOOD * blood
    image = grey * (1 + BIAS * smooth(rng, at)) + NOISE * rng.standard_normal(grey.shape)
    label = np.where(blood > 0.5, 2, np.where(fluid > 0.5, 1, 0)).astype(np.int16)
    return Head(np.round(255 * image.clip(0, 1)).astype(np.uint8)[None], kind, label, (1.0, 1.0, 1.0), case, case)


def placed(rng: np.random.Generator, sides: Sequence[int]) -> np.ndarray:
    """(3, X, Y, Z) where each voxel lies in the head."""
    axes = [(np.arange(side) + 0.5) / side * 2 - 1 for side in sides]
    at = np.stack(np.meshgrid(*axes, indexing="ij"))
    turn = np.eye(3)
    for first, second in ((0, 1), (1, 2), (0, 2)):
        angle, plane = rng.uniform(-0.12, 0.12), np.eye(3)
        plane[[first, second], [first, second]] = np.cos(angle)
        plane[first, second], plane[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ plane
    scale, shift = rng.uniform(0.94, 1.06, (3, 1, 1, 1)), rng.uniform(-0.04, 0.04, (3, 1, 1, 1))
    return np.tensordot(turn, (at - shift) * scale, 1).astype(np.float32)


def ball(at: np.ndarray, centre: Sequence[float], radii: Sequence[float] | float) -> np.ndarray:
    """An ellipsoid, 1 inside and 0 outside, with an edge about a voxel wide."""
    radii, centre = (np.broadcast_to(np.asarray(one, np.float32), 3).reshape(3, 1, 1, 1) for one in (radii, centre))
    away = (at - centre) / radii
    radius = np.sqrt(np.einsum("i...,i...->...", away, away))
    voxel = 2 / min(at.shape[1:])
    return ((1 - radius) * radii.min() / voxel + 0.5).clip(0, 1)


def anatomy(rng: np.random.Generator, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head without blood, and how much of each voxel is ventricle."""
    grey = np.full(at.shape[1:], AIR)
    fluid = np.zeros_like(grey)

    def lay(shade: float | np.ndarray, share: np.ndarray) -> None:
        grey[:] = grey * (1 - share) + shade * share

    lay(BONE, ball(at, (0, 0, 0), SKULL))
    lay(GREY, ball(at, (0, 0, 0), np.multiply(SKULL, INNER)))
    folds = 0.04 * np.sin(14 * at[0] + rng.uniform(0, 6)) * np.sin(12 * at[1] + 9 * at[2])
    lay(WHITE, ball(at + folds, (0, 0, 0), np.multiply(SKULL, CORTEX)))
    for number, (shade, centre, radii) in enumerate(PARTS):
        moved, grown = np.add(centre, rng.uniform(-0.03, 0.03, 3)), np.multiply(radii, rng.uniform(0.85, 1.15, 3))
        share = ball(at, moved, grown)
        lay(shade, share)
        fluid = np.maximum(fluid, share) if number < 2 else fluid
    lay(GREY + 0.10 * np.sin(FOLDS * np.pi * at[2] + rng.uniform(0, 6)), ball(at, *CEREBELLUM))
    return grey, fluid


def specks(rng: np.random.Generator, at: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """The head with calcium: up to two small bright specks anywhere, which are no blood."""
    for _ in range(rng.integers(0, 3)):
        share = ball(at, inside(rng, 0.55), rng.uniform(0.05, 0.08))
        grey = grey * (1 - share) + 0.9 * share
    return grey


def inside(rng: np.random.Generator, far: float) -> np.ndarray:
    """A place in the brain, at most `far` of the skull's radius from the middle."""
    way = rng.standard_normal(3)
    return way / np.linalg.norm(way) * far * rng.uniform(0.3, 1) * np.array(SKULL)


def smooth(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """A random linear and quadratic field, from -1 to 1."""
    weights = rng.uniform(-1, 1, 6)
    field = np.tensordot(weights[:3], at, 1) + np.tensordot(weights[3:], at**2, 1)
    return field / np.abs(field).max()


# ---------------------------------------------------------------- haemorrhages


def side(rng: np.random.Generator) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def aneurysm(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """A compact, even ball at the base, near the middle and the front."""
    centre = np.array([0.0, 0.30, -0.38]) + rng.uniform(-0.12, 0.12, 3)
    return ball(at, centre, rng.uniform(0.20, 0.26))


def malformation(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """A tangle in a parietal lobe, near the surface: a ball with holes."""
    centre = np.array([0.46 * side(rng), -0.40, 0.30]) + rng.uniform(-0.12, 0.12, 3)
    texture = ndimage.gaussian_filter(rng.standard_normal(at.shape[1:]), 0.9)
    return ball(at, centre, rng.uniform(0.28, 0.36)) * (texture > 0)


def moyamoya(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """Several small spots above and in front of the ventricles."""
    centre = np.array([0.15 * side(rng), 0.35, 0.40]) + rng.uniform(-0.10, 0.10, 3)
    spots = [ball(at, centre + rng.uniform(-0.25, 0.25, 3), rng.uniform(0.08, 0.12)) for _ in range(5)]
    return np.max(spots, axis=0)


def hypertension(rng: np.random.Generator, at: np.ndarray) -> np.ndarray:
    """A long, even body in the deep nuclei of one side."""
    centre = np.array([0.34 * side(rng), 0.02, -0.04]) + rng.uniform(-0.10, 0.10, 3)
    return ball(at, centre, np.array([0.12, 0.34, 0.14]) * rng.uniform(0.9, 1.2))


HAEMORRHAGES: tuple[Callable[[np.random.Generator, np.ndarray], np.ndarray], ...] = (
    aneurysm, malformation, moyamoya, hypertension,
)  # fmt: skip
