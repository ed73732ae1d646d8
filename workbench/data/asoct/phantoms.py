"""Phantom scans: cornea and sclera, iris, lens, a dim spur in the angle between them, and brighter decoys elsewhere."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.asoct.halves import DEFAULT, Half, Options, Point, Scan, assembled, cut

SIDE, WIDTH = 96, 204  # of a scan, pixels (high, wide)
SPUR = (23.0, 57.0)  # where the spur lies on average (x, y), pixels of the half
CLOSED, OPEN = (8.0, 20.0), (23.0, 42.0)  # mean angle of a patient between iris and arc, degrees
LIMIT, DOUBT = 21.5, 1.5  # an angle below is called closed, by a reader who is off by so much (standard deviation)
HIDDEN = 0.06  # share of the halves where a lid's shadow hides the spur
SPOT = 1.6  # standard deviation of spur and decoys, pixels


@dataclass(frozen=True)
class Eye:
    """What the halves of one patient have in common: lengths in pixels, angles in degrees."""

    angle: float  # between iris and arc
    slope: float  # of the arc in the spur, above the horizontal
    spur: Point
    radius: float  # of the arc's inner side
    shell: float  # thickness of cornea and sclera
    iris: float  # thickness of the iris
    bend: float  # curvature of the iris in those of the arc
    length: float  # of the iris
    recess: float  # how far beyond the spur the iris comes out of the arc
    bright: float  # of the shell
    lens: Point | None


def phantom(options: Options = DEFAULT) -> Data:
    """Halves of patients with one or two scans each; every fifth patient has narrow angles, as in the challenge.

    The number of one split changes no image of another.
    """
    splits = {
        name: halves_of(number, getattr(options, name), name, options)
        for number, name in enumerate(("train", "valid", "test"))
    }
    return assembled("phantom", splits, options)


def halves_of(number: int, count: int, name: str, options: Options) -> list[Half]:
    found: list[Half] = []
    patient = 0
    while len(found) < count:
        rng = np.random.default_rng([options.data_seed, 5, number, patient])
        group = f"{name}-{patient:03d}"
        for one in scans(rng, group, narrow=patient % 5 == 0, count=1 + patient % 2):
            found += cut(one, options.size)
        patient += 1
    return found[:count]


def scans(rng: np.random.Generator, group: str, narrow: bool, count: int) -> list[Scan]:
    """The scans of one patient, with angles that vary about the patient's own."""
    eye = eye_of(rng, narrow)
    return [scan(rng, eye, f"{group}-{number}", group) for number in range(count)]


def eye_of(rng: np.random.Generator, narrow: bool) -> Eye:
    return Eye(
        angle=rng.uniform(*(CLOSED if narrow else OPEN)),
        slope=rng.uniform(36, 52),
        spur=(SPUR[0] + rng.normal(0, 3), SPUR[1] + rng.normal(0, 3.5)),
        radius=rng.uniform(72, 88),
        shell=rng.uniform(8, 11),
        iris=rng.uniform(3.5, 5.5),
        bend=rng.uniform(1.0, 1.4),
        length=rng.uniform(40, 54),
        recess=rng.uniform(0.5, 8.0),
        bright=rng.uniform(0.42, 0.6),
        lens=(rng.uniform(88, 100), rng.uniform(76, 90)) if rng.random() < 0.8 else None,
    )


def scan(rng: np.random.Generator, eye: Eye, case: str, group: str) -> Scan:
    """A left and a mirrored right half side by side, each with its own turn, shift, angle, decoys and speckle."""
    parts, spurs, closed = [], [], []
    for _ in range(2):
        own = replace(
            eye,
            angle=max(3.0, eye.angle + rng.normal(0, 2.5)),
            slope=eye.slope + rng.normal(0, 5),
            spur=(eye.spur[0] + rng.normal(0, 3), eye.spur[1] + rng.normal(0, 4)),
        )
        hidden = rng.random() < HIDDEN
        parts.append(drawn(rng, own, hidden))
        spurs.append(None if hidden else own.spur)
        closed.append(bool(own.angle + rng.normal(0, DOUBT) < LIMIT))
    right = spurs[1] and (WIDTH - 1 - spurs[1][0], spurs[1][1])
    image = np.concatenate([parts[0], parts[1][:, ::-1]], 1)
    return Scan(image, (spurs[0], right), (closed[0], closed[1]), case, group)


# ---------------------------------------------------------------- one half


def drawn(rng: np.random.Generator, eye: Eye, hidden: bool) -> np.ndarray:
    """The half of an eye, (96, 102) in [0, 1], the angle on the left; a shadow lies on a `hidden` spur."""
    y, x = np.mgrid[:SIDE, : WIDTH // 2].astype(float)
    corner, slope = np.array(eye.spur), math.radians(eye.slope)
    center = corner + eye.radius * np.array([math.sin(slope), math.cos(slope)])
    depth = np.hypot(x - center[0], y - center[1]) - eye.radius  # beyond the inner side of the shell
    path = iris(eye, slope)
    image = 0.07 + eye.bright * soft(depth) * soft(eye.shell - depth)
    image = np.maximum(image, rng.uniform(0.36, 0.5) * strip(x, y, path, eye.iris))
    if eye.lens:
        level = np.hypot((x - eye.lens[0]) / 34, (y - eye.lens[1] - 26) / 26) - 1
        image = np.maximum(image, rng.uniform(0.3, 0.5) * np.exp(-((level * 26 / 1.5) ** 2)))
    image += spot(x, y, corner, rng.uniform(0.14, 0.22))
    for place in decoys(rng, eye, center, path):
        image += spot(x, y, place, rng.uniform(0.4, 0.6))
    if hidden:
        image *= 1 - 0.85 * np.exp(-(((x - corner[0]) / rng.uniform(7, 10)) ** 4))
    return speckled(rng, image)


def soft(distance: np.ndarray) -> np.ndarray:
    """1 well inside (above 0), 0 outside, with an edge of about two pixels."""
    return 1 / (1 + np.exp(np.clip(-2 * distance, -50, 50)))


def spot(x: np.ndarray, y: np.ndarray, place: np.ndarray, height: float) -> np.ndarray:
    return height * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * SPOT**2))


def iris(eye: Eye, slope: float) -> np.ndarray:
    """Points (N, 2) along the iris: it comes out of the arc below the spur, at the angle, and bends away from it."""
    root = np.array(eye.spur) + eye.recess * np.array([-math.cos(slope), math.sin(slope)])
    heading = slope - math.radians(eye.angle)
    along, below = np.array([math.cos(heading), -math.sin(heading)]), np.array([math.sin(heading), math.cos(heading)])
    t = np.linspace(-1, eye.length, 60)[:, None]
    return root + t * along + (eye.bend / eye.radius / 2 * t**2 + eye.iris / 2) * below


def strip(x: np.ndarray, y: np.ndarray, path: np.ndarray, width: float) -> np.ndarray:
    """1 within half a width of a path (N, 2), 0 elsewhere."""
    distance = np.full(x.shape, np.inf)
    for px, py in path:
        np.minimum(distance, (x - px) ** 2 + (y - py) ** 2, out=distance)
    return soft(width / 2 - np.sqrt(distance))


def decoys(rng: np.random.Generator, eye: Eye, center: np.ndarray, path: np.ndarray) -> list[np.ndarray]:
    """One or two places on the inner side of the arc or on the iris, at least 13 pixels from the spur."""
    places = []
    for _ in range(rng.integers(1, 3)):
        if rng.random() < 0.6:
            turn = math.radians(eye.slope) + rng.choice([-1, 1]) * rng.uniform(12, 40) / eye.radius
            places.append(center - (eye.radius - rng.uniform(0, 3)) * np.array([math.sin(turn), math.cos(turn)]))
        else:
            places.append(path[rng.integers(25, 60)])
    return places


def speckled(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """With multiplicative gamma noise, whose grains are about a pixel wide."""
    grain = ndimage.gaussian_filter(rng.gamma(4.0, 1 / 4.0, image.shape), 0.5)
    return np.clip(image * grain, 0, 1)
