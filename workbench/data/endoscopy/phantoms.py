"""Phantom endoscopy: a polyp on a mucosa with folds, passed by a camera, as two centres record it.

What is in the scene has the same law at both centres. Each video has one recording for all of its frames: a colour
cast, a gamma and a vignette, mild at the target centre, strong and different from video to video at the other. The
camera's motion is known exactly.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.endoscopy.clips import CENTRES, SPLITS, Clip, Options, assembled

MUCOSA = (0.74, 0.44, 0.40)
POLYP = (0.78, 0.36, 0.34)  # redder than the mucosa, little brighter or darker
OTHERS = (  # as round as a polyp, but of another colour
    (0.76, 0.62, 0.42),  # stool and mucus
    (0.58, 0.35, 0.31),  # a hollow in shade
    (0.80, 0.50, 0.50),  # a pale scar
)
REACH = 2.0  # side of the scene in sides of a frame


@dataclass(frozen=True)
class Recording:
    """How a centre's light, camera and processor show one video."""

    cast: np.ndarray  # gain of red, green, blue
    gamma: float
    vignette: float  # share of the light that is lost in the corners
    noise: float = 0.012  # standard deviation, a frame


@dataclass(frozen=True)
class Path:
    """Where the camera is at each frame: the scene point of a pixel p from the frame's centre is turn @ p + place."""

    turn: np.ndarray  # (T, 2, 2): rotation and zoom
    place: np.ndarray  # (T, 2), pixels

    def seen(self, time: int, pixels: np.ndarray) -> np.ndarray:
        """Scene points (2, ...) of pixels (2, ...), both from the middle."""
        return np.tensordot(self.turn[time], pixels, 1) + self.place[time][:, None, None]

    def motion(self, time: int, pixels: np.ndarray) -> np.ndarray:
        """(2, ...) in pixels: what frame time + 1 shows at p is what frame time shows at p + motion."""
        step = self.seen(time + 1, pixels) - self.place[time][:, None, None]
        return np.tensordot(np.linalg.inv(self.turn[time]), step, 1) - pixels


def phantom(options: Options) -> Data:
    """Clips of two centres, every one another video; the number of one split changes no clip of another."""
    splits = {}
    for number, split in enumerate(SPLITS):
        for side, centre in enumerate(CENTRES):
            names = [f"{split}-{centre}-{i:03d}" for i in range(getattr(options, split))]
            rngs = [np.random.default_rng([options.data_seed, 5, number, side, i]) for i in range(len(names))]
            made = [clip(rng, options, centre, name) for rng, name in zip(rngs, names, strict=True)]
            splits.setdefault(split, {})[centre] = made
    return assembled(f"phantom-shift{options.shift:g}", splits, options)


def recording(rng: np.random.Generator, centre: str, shift: float) -> Recording:
    """The look of one video: near the usual one at the target centre; elsewhere far off it, each another way."""
    if centre == "target":
        return Recording(rng.uniform(0.95, 1.05, 3), rng.uniform(0.93, 1.07), rng.uniform(0.1, 0.3))
    cast = np.array([0.82, 1.0, 1.10]) ** shift * np.exp(shift * rng.uniform(-0.25, 0.25, 3))
    return Recording(cast, math.exp(shift * rng.uniform(-0.42, 0.42)), 0.2 + 0.2 * shift * rng.uniform(0.4, 1.6))


def clip(rng: np.random.Generator, options: Options, centre: str, name: str) -> Clip:
    """One video of the phantom."""
    size, count = options.size, options.frames
    scene, label = drawn(rng, size)
    path, look = camera(rng, size, count), recording(rng, centre, options.shift)
    pixels = np.mgrid[:size, :size] - (size - 1) / 2
    layers = np.concatenate([scene.transpose(2, 0, 1), label[None]])
    frames, masks = [], []
    for time in range(count):
        places = path.seen(time, pixels) + (len(scene) - 1) / 2
        seen = [ndimage.map_coordinates(layer, places, order=1, mode="mirror") for layer in layers]
        frames.append(recorded(rng, np.stack(seen[:3], -1), look, pixels))
        masks.append(seen[3] > 0.5)
    flow = np.stack([path.motion(time, pixels) for time in range(count - 1)]).astype(np.float32)
    return Clip(np.stack(frames), np.stack(masks).astype(np.int16), flow, name, name)


def recorded(rng: np.random.Generator, frame: np.ndarray, look: Recording, pixels: np.ndarray) -> np.ndarray:
    """What is stored, (H, W, 3) uint8, of a frame in [0, 1]."""
    radius = (pixels**2).sum(0) / (2 * (pixels.max() + 0.5) ** 2)  # 1 in the corners
    shown = np.clip(frame * look.cast, 0, 1) ** look.gamma * (1 - look.vignette * radius)[..., None]
    return np.round(255 * np.clip(shown + look.noise * rng.standard_normal(shown.shape), 0, 1)).astype(np.uint8)


def camera(rng: np.random.Generator, size: int, count: int) -> Path:
    """A smooth path past the polyp: it drifts, turns and comes nearer or goes away."""
    time = np.linspace(-0.5, 0.5, count)[:, None]
    drift, bend = rng.uniform(-0.35, 0.35, 2), rng.uniform(-0.25, 0.25, 2)
    place = size * (rng.uniform(-0.12, 0.12, 2) + drift * time + bend * (time**2 - 1 / 12))
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.35, 0.35) * time[:, 0]
    zoom = rng.uniform(0.9, 1.1) * np.exp(rng.uniform(-0.2, 0.2) * time[:, 0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Path((zoom * rotation).transpose(2, 0, 1), place)


# ---------------------------------------------------------------- scene


def drawn(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole scene (S, S, 3) in [0, 1] and where its polyp is, (S, S) in [0, 1]."""
    side = round(REACH * size)
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / size  # in sides of a frame, 0 in the middle
    grey = 0.10 * cloud(rng, side, 0.12 * size) + 0.05 * cloud(rng, side, 0.04 * size)
    scene = np.array(MUCOSA) * (1 + grey[..., None] * np.array([0.7, 1.0, 1.0]))
    vessels = np.exp(-((cloud(rng, side, 0.05 * size) / 0.12) ** 2))
    scene *= 1 - 0.12 * vessels[..., None] * np.array([0.5, 1.0, 0.9])
    scene *= 1 + folds(rng, y, x)[..., None]
    for color in rng.permutation(OTHERS)[: rng.integers(1, 4)]:
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
        blot, _ = mound(rng, y, x, far * np.array([math.sin(angle), math.cos(angle)]), (0.08, 0.18))
        scene = over(scene, color, rng.uniform(0.6, 0.9) * blot)
    inside, light = mound(rng, y, x, rng.uniform(-0.08, 0.08, 2), (0.12, 0.22))
    polyp = np.array(POLYP) * rng.uniform(0.95, 1.05) * (1 + 0.3 * grey[..., None])
    scene = over(scene, polyp, rng.uniform(0.65, 0.9) * inside)
    scene *= 1 + 0.15 * (light * inside)[..., None]
    return np.clip(scene, 0, 1), inside


def cloud(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Smooth noise (side, side) of standard deviation 1 whose blobs are `width` pixels wide."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), max(width, 0.8), mode="wrap")
    return noise / noise.std()


def folds(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Two to four curved ridges that catch the light on one side and throw a shadow on the other, relative."""
    total = np.zeros_like(y)
    for _ in range(rng.integers(2, 5)):
        angle, bend, place = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.7)
        along, across = y * math.cos(angle) - x * math.sin(angle), y * math.sin(angle) + x * math.cos(angle)
        off = (across - place - bend * along**2) / rng.uniform(0.03, 0.06)
        total += rng.uniform(0.2, 0.4) * -off * np.exp(0.5 - off**2)
    return total


def mound(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, center: np.ndarray, radii: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """A soft-edged ellipse: where it is, (S, S) in [0, 1], and how the light falls on it, about -1 to 1."""
    angle, (long, wide) = rng.uniform(0, np.pi), np.sort(rng.uniform(*radii, 2))[::-1]
    dy, dx = y - center[0], x - center[1]
    along, across = dy * math.cos(angle) - dx * math.sin(angle), dy * math.sin(angle) + dx * math.cos(angle)
    level = np.hypot(along / long, across / wide)
    lit = rng.uniform(0, 2 * np.pi)
    edge = 0.012 / wide  # the width of the border, in radii
    inside = 1 / (1 + np.exp(np.clip((level - 1) / edge, -50, 50)))
    return inside, (dy * math.sin(lit) + dx * math.cos(lit)) / long


def over(scene: np.ndarray, color: tuple[float, ...] | np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """A colour laid over a scene (S, S, 3) with an opacity (S, S)."""
    return scene + opacity[..., None] * (np.asarray(color) - scene)
