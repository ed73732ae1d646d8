"""Phantoms: heads whose tumours are bright in FLAIR, dark in T1 and ringed in T1ce, and in T2 look much like cysts."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.anatomy.phantoms import blob
from workbench.data.brain.slices import DEFAULT, MODALITIES, Options, Slice, assembled

SIDE = 64  # pixels of the image that all lengths below are meant for; they grow with it
GREYS = {  # T2, FLAIR, T1ce, T1
    "skull": (0.15, 0.18, 0.40, 0.38),
    "csf": (0.82, 0.12, 0.14, 0.13),
    "grey matter": (0.52, 0.52, 0.46, 0.42),
    "white matter": (0.36, 0.40, 0.66, 0.64),
    "oedema": (0.88, 0.92, 0.32, 0.30),
    "core": (0.88, 0.78, 0.22, 0.20),
    "ring": (0.88, 0.80, 0.96, 0.24),
}
GAIN = (0.93, 1.07)  # of T2, drawn for each head: its greys alone tell a tumour even less
NOISE = 0.02  # standard deviation, of each modality on its own
BLUR = 0.5  # standard deviation of all edges
CORE, RING = 0.5, 1.3  # radius of the core in radii of the tumour; thickness of the ring
RADIUS, LEAST = (6.0, 9.0), 4.0  # mean radius of a lesion of either kind; of a cyst that has little room
APART = 1.5  # between a lesion's edge and the next one


@dataclass(frozen=True)
class Lesion:
    """A tumour or a cyst: its centre (y, x) and mean radius, pixels, and how its outline waves.

    The outline is radius (1 + sum over waves (n, a, phase) of a cos(n angle + phase)): a cyst is a plain ellipse, to
    first order a wave of n = 2; a tumour has 8 to 11 lobes.
    """

    center: tuple[float, float]
    radius: float
    waves: tuple[tuple[int, float, float], ...]

    def reaches(self, size: int, share: float = 1.0) -> np.ndarray:
        """(H, W) pixels from each pixel to the outline shrunk by `share`, above 0 inside."""
        along = np.arange(size)
        dy, dx = along[:, None] - self.center[0], along[None] - self.center[1]
        angle = np.arctan2(dy, dx)
        outline = 1 + sum(a * np.cos(n * angle + phase) for n, a, phase in self.waves)
        return share * self.radius * outline - np.hypot(dy, dx)


def phantom(options: Options = DEFAULT) -> Data:
    """Heads with one or two cysts and, but for the share `healthy`, a tumour; no two share their random numbers.

    A cyst has the greys of CSF in all modalities. A tumour is hardly brighter than CSF in T2, and its core
    and ring do not show there at all: they follow its outline.
    """
    splits = {}
    for number, name in enumerate(("train", "segmentation", "valid", "test")):
        rngs = [np.random.default_rng([options.data_seed, number, item]) for item in range(getattr(options, name))]
        sick = [ill(item, options.healthy) for item in range(len(rngs))]
        splits[name] = [head(rng, options.size, yes, f"{name}-{n:04d}") for n, (rng, yes) in enumerate(zip(rngs, sick))]
    return assembled("phantom", splits, options)


def ill(item: int, healthy: float) -> bool:
    """Whether this one of a row has a tumour: the share without is met as evenly as can be.

    >>> [ill(item, 0.25) for item in range(5)]
    [True, True, True, False, True]
    """
    return int((item + 1) * healthy) == int(item * healthy)


def head(rng: np.random.Generator, size: int, sick: bool, case: str) -> Slice:
    return scene(rng, size, sick, case)[0]


def scene(rng: np.random.Generator, size: int, sick: bool, case: str = "") -> tuple[Slice, list[Lesion]]:
    """A slice and its lesions, the tumour first where there is one, then the cysts."""
    unit = size / SIDE
    skull, brain, white, ventricles = anatomy(rng, size)
    layers = [(skull, "skull"), (brain, "csf"), (ndimage.binary_erosion(brain, iterations=round(unit)), "grey matter")]
    lesions = placed(rng, size, ndimage.binary_erosion(brain, iterations=round(2 * unit)), sick)
    displaced = [one.reaches(size) > -2 * APART * unit for one in lesions]  # no outline is blurred by a ventricle's
    layers += [(white, "white matter"), (ventricles & ~np.any(displaced, axis=0), "csf")]
    tumour = np.zeros((size, size), bool)
    for number, one in enumerate(lesions):
        if sick and number == 0:
            tumour = one.reaches(size) > 0
            core = one.reaches(size, CORE)
            layers += [(tumour, "oedema"), (core > -RING * unit, "ring"), (core > 0, "core")]
        else:
            layers.append((one.reaches(size) > 0, "csf"))
    images = painted(layers, size) + NOISE * rng.standard_normal((len(MODALITIES), size, size))
    images[0] *= rng.uniform(*GAIN)
    return Slice(images.clip(0, 1), tumour, brain, None, case, case), lesions


def painted(layers: list[tuple[np.ndarray, str]], size: int) -> np.ndarray:
    """(4, H, W): each layer upon those before it, with soft edges."""
    images = np.zeros((len(MODALITIES), size, size))
    for mask, tissue in layers:
        cover = ndimage.gaussian_filter(mask.astype(float), BLUR * size / SIDE)
        images += cover * (np.array(GREYS[tissue])[:, None, None] - images)
    return images


def anatomy(rng: np.random.Generator, size: int) -> tuple[np.ndarray, ...]:
    """The head, the inside of its skull, the white matter and the ventricles, each (H, W) bool."""
    center, scale = 0.5 + rng.uniform(-0.02, 0.02, 2), rng.uniform(0.92, 1.05)
    head = blob(rng, size, center=center, radii=scale * np.array([0.43, 0.37]))
    brain = ndimage.binary_erosion(head, iterations=max(1, round(2.5 * size / SIDE)))
    white = blob(rng, size, center=center, radii=scale * np.array([0.29, 0.24])) & brain
    tilt, long, wide = rng.uniform(-0.01, 0.01), rng.uniform(0.09, 0.13), rng.uniform(0.025, 0.045)
    sides = [center + np.array([sign * tilt, sign * rng.uniform(0.045, 0.065)]) for sign in (-1, 1)]
    ventricles = [blob(rng, size, center=side, radii=np.array([long, wide])) for side in sides]
    return head, brain, white, ventricles[0] | ventricles[1]


def placed(rng: np.random.Generator, size: int, room: np.ndarray, sick: bool) -> list[Lesion]:
    """A tumour first, where there is one, and one or two cysts of like sizes, where there is room for them."""
    unit, found = size / SIDE, []
    for tumour in [True] * sick + [False] * int(rng.integers(1, 3)):
        waves = lobes(rng) if tumour else ((2, rng.uniform(0, 0.15), rng.uniform(0, 2 * np.pi)),)
        depth, far = ndimage.distance_transform_edt(room), 1 + sum(wave[1] for wave in waves)
        radius = min(unit * rng.uniform(*RADIUS), depth.max() / far)
        if radius < LEAST * unit and not tumour:
            continue
        spots = np.argwhere(depth >= 0.99 * radius * far)
        one = Lesion(tuple(map(float, spots[rng.integers(len(spots))])), radius, waves)
        found.append(one)
        room = room & (one.reaches(size) < -APART * unit)
    return found


def lobes(rng: np.random.Generator) -> tuple[tuple[int, float, float], ...]:
    turns = rng.uniform(0, 2 * np.pi, 2)
    return (int(rng.integers(8, 12)), rng.uniform(0.20, 0.28), turns[0]), (3, rng.uniform(0, 0.08), turns[1])
