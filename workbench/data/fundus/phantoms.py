"""Phantom regions of fundus photographs, taken by two cameras: a disc, a cup with a soft edge, vessels and retina."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from workbench.data import Data
from workbench.data.fundus.rois import Eye, Options, assembled

RETINA = (0.66, 0.33, 0.17)  # sRGB colours of a healthy fundus
RING = (0.80, 0.47, 0.25)  # the rim of the disc
PALE = (0.93, 0.75, 0.50)  # the floor of the cup
VEIN, ARTERY = (0.42, 0.13, 0.08), (0.58, 0.21, 0.12)
DRAWN = 128  # side that is drawn at least, pixels, before it is averaged down
STEP = 0.012  # between the points of a vessel, sides


@dataclass(frozen=True)
class Camera:
    """How a camera renders a retina: what differs between the two domains."""

    gamma: float
    tint: tuple[float, float, float]  # gain of red, green, blue
    saturation: float
    blur: float  # standard deviation, sides
    noise: float  # standard deviation, of each pixel and channel
    shade: float  # fall of light from one side to the other
    contrast: tuple[float, float]  # how far the cup is paler than the rim, in a disc whose cup is narrow and wide
    edge: float  # width of the cup's edge, sides


SOURCE = Camera(1.0, (1.0, 1.0, 1.0), 1.0, 0.004, 0.012, 0.10, (0.55, 0.85), 0.012)
TARGET = Camera(0.72, (0.80, 1.08, 1.35), 0.72, 0.015, 0.025, 0.25, (0.62, 0.38), 0.024)


def phantom(options: Options = Options()) -> Data:
    """Eyes of the source camera (train, valid) and of the target camera (unlabelled, test), every one another subject.

    The number of one split changes no image of another.
    """
    splits = {}
    for number, (name, camera) in enumerate(SPLITS.items()):
        rngs = [np.random.default_rng([options.data_seed, 3, number, i]) for i in range(getattr(options, name))]
        splits[name] = [eye(rng, options.size, camera, f"{name}-{i:04d}") for i, rng in enumerate(rngs)]
    return assembled(f"phantom-rho{options.rho:g}", splits, options)


SPLITS = {"train": SOURCE, "valid": SOURCE, "unlabelled": TARGET, "test": TARGET}


@dataclass(frozen=True)
class Outline:
    """An ellipse with a wavy outline; centre and radii (vertical, horizontal) in sides."""

    center: np.ndarray
    radii: np.ndarray
    waves: np.ndarray  # (3, 2): amplitude and phase of the second to fourth harmonic

    def level(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """0 in the centre, 1 on the outline."""
        dy, dx = (y - self.center[0]) / self.radii[0], (x - self.center[1]) / self.radii[1]
        angle = np.arctan2(dy, dx)
        wave = sum(a * np.cos(f * angle + p) for f, (a, p) in enumerate(self.waves, 2))
        return np.hypot(dy, dx) / (1 + wave)

    def inside(self, y: np.ndarray, x: np.ndarray, edge: float) -> np.ndarray:
        """1 inside, 0 outside, with an edge of that width in sides."""
        distance = (self.level(y, x) - 1) * self.radii.mean()
        return 1 / (1 + np.exp(np.clip(4 * distance / edge, -50, 50)))


def eye(rng: np.random.Generator, size: int, camera: Camera, case: str) -> Eye:
    """One region of `size` pixels: what the camera shows of an eye, and the label map of its rim and cup."""
    factor = max(1, round(DRAWN / size))
    y, x = (np.mgrid[: size * factor, : size * factor] + 0.5) / (size * factor)
    disc, cup, ratio = outlines(rng)
    nasal = rng.choice([-1, 1])  # left or right eye
    image = retina(rng, y, x, disc)
    image = over(image, RING * rng.uniform(0.94, 1.06, 3), disc.inside(y, x, rng.uniform(0.015, 0.035)))
    image *= 1 - 0.10 * np.exp(-(((disc.level(y, x) - 1.06) / 0.07) ** 2))[..., None]  # the ring of pigment
    image *= 1 + 0.06 * nasal * ((disc.center[1] - x) / disc.radii[1] * disc.inside(y, x, 0.05))[..., None]
    narrow, wide = camera.contrast
    contrast = narrow + (wide - narrow) * (ratio - 0.35) / 0.4 + rng.uniform(-0.08, 0.08)
    image = over(image, np.array(PALE), contrast * cup.inside(y, x, camera.edge * rng.uniform(1.5, 3.5)))
    image = vessels(rng, image, disc, cup, nasal)
    image = averaged(photograph(rng, image, camera, y, x), factor)
    image = np.clip(image + camera.noise * rng.standard_normal(image.shape), 0, 1)
    inside_disc = disc.level(y, x) <= 1
    label = sum((averaged(mask, factor) > 0.5) for mask in (inside_disc, inside_disc & (cup.level(y, x) <= 1)))
    return Eye(np.round(255 * image).astype(np.uint8), label.astype(np.int16), case, case)


def outlines(rng: np.random.Generator) -> tuple[Outline, Outline, float]:
    """Disc and cup, and the ratio of their heights; the cup lies well within the disc."""
    height = rng.uniform(0.18, 0.25)
    disc = Outline(rng.uniform(0.43, 0.57, 2), height * np.array([1, rng.uniform(0.84, 0.98)]), waves(rng, 0.025))
    ratio = rng.uniform(0.35, 0.75)
    radii = disc.radii * ratio * np.array([1, rng.uniform(0.88, 1.08)])
    angle, off = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    center = disc.center + off * (disc.radii - radii) * np.array([math.sin(angle), math.cos(angle)])
    return disc, Outline(center, radii, waves(rng, 0.04)), ratio


def waves(rng: np.random.Generator, amplitude: float) -> np.ndarray:
    return np.stack([rng.uniform(0, amplitude, 3), rng.uniform(0, 2 * np.pi, 3)], 1)


def over(image: np.ndarray, color: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """A colour laid over an image (H, W, 3) with an opacity (H, W)."""
    return image + opacity[..., None] * (color - image)


def cloud(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Smooth noise (H, W) of standard deviation 1 whose blobs have that width in sides."""
    noise = ndimage.gaussian_filter(rng.standard_normal((side, side)), width * side, mode="wrap")
    return noise / noise.std()


def retina(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, disc: Outline) -> np.ndarray:
    """The background: choroid in blotches, fine grain, nerve fibres that fan out, a halo of atrophy beside the disc."""
    side = len(y)
    grey = 0.05 * cloud(rng, side, 0.12) + 0.035 * cloud(rng, side, 0.03) + 0.015 * cloud(rng, side, 0.008)
    level, angle = disc.level(y, x), np.arctan2(y - disc.center[0], x - disc.center[1])
    fibres = sum(np.cos(f * angle + rng.uniform(0, 2 * np.pi)) for f in (29, 37, 53)) * np.abs(np.sin(angle))
    grey += 0.012 * fibres * np.exp(-((level - 1.2) ** 2))
    side_of_halo = np.cos(angle - rng.uniform(-0.6, 0.6) - rng.choice([0, np.pi]))
    grey += rng.uniform(0, 0.16) * np.clip(side_of_halo, 0, 1) * np.exp(-(((level - 1.05) / 0.22) ** 2))
    color = np.array(RETINA) * rng.uniform(0.88, 1.12) * rng.uniform(0.92, 1.08, 3)
    return color * (1 + grey[..., None] * np.array([0.7, 1.0, 1.1]))


# ---------------------------------------------------------------- vessels


def vessels(rng: np.random.Generator, image: np.ndarray, disc: Outline, cup: Outline, nasal: int) -> np.ndarray:
    """Arteries and veins that leave through the cup, bend at its edge, fork and run up and down in arcades."""
    side = len(image)
    layers = {kind: Image.new("L", (side, side)) for kind in ("vein", "artery", "reflex")}
    pens = {kind: ImageDraw.Draw(layer) for kind, layer in layers.items()}
    for kind, width in (("vein", rng.uniform(0.030, 0.042)), ("artery", rng.uniform(0.022, 0.030))):
        for up in (-1, 1):
            for outward in (-1, 1):
                start = cup.center + cup.radii * (rng.uniform(-0.25, 0.25), 0.45 * nasal + rng.uniform(-0.2, 0.2))
                heading = up * (np.pi / 2 - outward * rng.uniform(0.15, 0.75))
                scale = 1.0 if outward != nasal else rng.uniform(0.5, 0.9)
                course = path(rng, start, heading, -up * outward, cup)
                draw(rng, pens, kind, side, course, width * scale, forks=2)
    for _ in range(rng.integers(1, 4)):  # twigs that cross the edge of the disc
        angle = rng.uniform(0, 2 * np.pi)
        start = disc.center + rng.uniform(0.5, 0.8) * disc.radii * (math.sin(angle), math.cos(angle))
        draw(rng, pens, "artery", side, path(rng, start, angle + rng.uniform(-0.4, 0.4), 0), 0.011, forks=0)
    opacity = {kind: ndimage.gaussian_filter(np.asarray(layer) / 255.0, 0.004 * side) for kind, layer in layers.items()}
    image = over(image, np.array(VEIN), 0.82 * opacity["vein"])
    image = over(image, np.array(ARTERY), 0.78 * opacity["artery"])
    return over(image, np.array(PALE), 0.25 * opacity["reflex"])


def path(
    rng: np.random.Generator, start: np.ndarray, heading: float, turn: int, cup: Outline | None = None
) -> np.ndarray:
    """Points (N, 2) of a winding course in sides, (y, x), that turns one way and bends where it climbs out of a cup."""
    kink, bend = rng.uniform(-0.7, 0.7), turn * rng.uniform(0.2, 1.3)
    sway, phase = rng.uniform(0.1, 0.35), rng.uniform(0, 2 * np.pi)
    t, within, point, points = np.arange(75) * STEP, cup is not None, start, [start]
    for direction in heading + bend * t + sway * np.sin(14 * t + phase):
        within = within and cup.level(*point) < 1
        angle = direction + kink * within
        point = point + STEP * np.array([math.sin(angle), math.cos(angle)])
        points.append(point)
    return np.array(points)


def draw(
    rng: np.random.Generator, pens: dict[str, ImageDraw.ImageDraw], kind: str, side: int, points: np.ndarray,
    width: float, forks: int,
) -> None:  # fmt: skip
    """Lay a vessel that tapers along its points into the layer of its kind, with branches; arteries glint."""
    radii = side * width * np.linspace(0.5, 0.33, len(points))
    glints = kind == "artery" and radii[0] > 1
    for pen, part in ((pens[kind], 1.0), *(((pens["reflex"], 0.3),) if glints else ())):
        low, high = (side * points + sign * np.maximum(0.5, part * radii)[:, None] for sign in (-1, 1))
        for box in np.concatenate([low[:, ::-1], high[:, ::-1]], 1).tolist():
            pen.ellipse(box, fill=255)
    for _ in range(forks):
        n = rng.integers(15, 60)
        dy, dx = points[n + 1] - points[n]
        heading = math.atan2(dy, dx) + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
        draw(rng, pens, kind, side, path(rng, points[n], heading, 0), 0.6 * width, forks - 2)


# ---------------------------------------------------------------- camera


def photograph(rng: np.random.Generator, image: np.ndarray, camera: Camera, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The image (H, W, 3) in [0, 1] that a camera makes of a scene, before noise."""
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + camera.shade * ((y - 0.5) * math.sin(angle) + (x - 0.5) * math.cos(angle))
    image = image * light[..., None] * rng.uniform(0.93, 1.07)
    grey = image.mean(-1, keepdims=True)
    image = (grey + camera.saturation * (image - grey)) * np.array(camera.tint)
    image = ndimage.gaussian_filter(image, (camera.blur * len(y), camera.blur * len(y), 0))
    return np.clip(image, 0, 1) ** camera.gamma


def averaged(image: np.ndarray, factor: int) -> np.ndarray:
    """(H, W, ...) with blocks of factor x factor pixels averaged."""
    height, width = (side // factor for side in image.shape[:2])
    return image.reshape(height, factor, width, factor, *image.shape[2:]).mean((1, 3))
