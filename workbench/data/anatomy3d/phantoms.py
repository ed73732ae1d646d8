"""Brains that are one template seen through smooth one-to-one maps, so the map from any to any other is known."""

from collections.abc import Callable, Sequence

import numpy as np

from workbench.data import Data
from workbench.data.anatomy3d.subjects import DEFAULTS, SHOWN, Options, Subject, cases, nearest_to_mean

# name, grey, centre and radii across, along and up, in parts of the side; later ones lie upon earlier ones
STRUCTURES = (
    ("cortex", 0.50, (0.00, 0.00, 0.00), (0.33, 0.39, 0.36)),
    ("white", 0.80, (0.00, 0.00, 0.00), (0.25, 0.31, 0.28)),
    ("ventricle", 0.18, (0.00, 0.03, 0.02), (0.06, 0.16, 0.13)),
    ("left", 0.42, (-0.14, -0.04, 0.00), (0.055, 0.11, 0.10)),
    ("right", 0.42, (0.14, -0.04, 0.00), (0.055, 0.11, 0.10)),
)
SHIFT = (6 / 64, 8 / 64)  # longest displacement from the template, in parts of the side (card: 6 to 8 of 64 pixels)
WAVES = 4  # half waves along each axis that a map is made of
STEPS = 6  # of the integration
TEXTURE, BIAS, NOISE = 0.06, 0.12, 0.03  # grey, of one; the noise is a standard deviation
CHUNK = 2**12  # points at a time, few enough for the processor's cache


def phantom(options: Options = DEFAULTS) -> Data:
    """Brains of 5 structures, nested and side by side, with texture, a bias field and noise.

    Subject = template o phi, where phi integrates a smooth random velocity that is tangential at the border, so it is
    one-to-one and maps the image onto itself. One training subject more than asked for is drawn: the nearest to the
    mean image becomes the atlas. Maps go atlas -> subject in voxels: subject(x) = atlas(x + D(x)), with
    D = phi_atlas^-1 o phi_subject - id.
    """
    counts = {"train": options.train + 1, "valid": options.valid, "test": options.test}
    drawn, waves = {}, {}
    for number, (name, count) in enumerate(counts.items()):
        rngs = [np.random.default_rng([options.data_seed, number, item]) for item in range(count)]
        waves[name] = [velocity(rng, options.dims) for rng in rngs]
        made = zip(rngs, waves[name])
        drawn[name] = [brain(rng, wave, options, f"{name}-{item:04d}") for item, (rng, wave) in enumerate(made)]
    chosen = nearest_to_mean(drawn["train"], range(counts["train"]))
    atlas, back = drawn["train"].pop(chosen), -waves["train"][chosen]
    flows = [through(one.map, back) for one in drawn["test"]]
    splits = {name: cases(drawn[name], atlas, flows if name == "test" else ()) for name in counts}
    names = [name for name, *_ in STRUCTURES]
    spec = {"size": options.side, "dims": options.dims, "classes": ",".join(names), "channels": 1}
    labels = {name: (value,) for value, name in enumerate(names, 1)}
    return Data("phantom" if options.dims == 2 else "phantom3d", **splits, spec=spec, shown=SHOWN, labels=labels)


def brain(rng: np.random.Generator, wave: np.ndarray, options: Options, case: str) -> Subject:
    """The template through the map of one velocity, with a bias field and noise."""
    sides = (options.side,) * options.dims
    displacement = through(np.zeros((options.dims, *sides)), wave)
    grey, label = template(voxels(sides) + displacement, options)
    image = grey * bias_field(rng, sides) + NOISE * rng.standard_normal(sides)
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return Subject(pixels, label, np.ones(options.dims), case, case, displacement)


def bias_field(rng: np.random.Generator, sides: tuple[int, ...]) -> np.ndarray:
    """(*S) what a coil adds: a smooth factor between exp(-BIAS) and exp(BIAS)."""
    amplitudes = rng.uniform(-1, 1, (3,) * len(sides))
    positions = voxels(sides).reshape(len(sides), -1) / (np.array(sides)[:, None] - 1)
    field = contracted(amplitudes, half_waves(positions, 3)[0]).reshape(sides)
    return np.exp(BIAS * field / np.abs(field).max())


# ---------------------------------------------------------------- maps


def velocity(rng: np.random.Generator, dims: int) -> np.ndarray:
    """(D, WAVES, ...) the amplitudes of a velocity whose map moves no point further than SHIFT, in parts of the side.

    Rough waves are weak, by the square of their number. The longest displacement is measured on a coarse grid; a draw
    whose map has a Jacobian determinant below 0.2 there is drawn again.
    """
    numbers = np.stack(np.meshgrid(*[np.arange(WAVES)] * dims, indexing="ij"))
    fall = 1 / (1 + (numbers**2).sum(0))
    sides = (16,) * dims
    while True:
        wave, longest = rng.standard_normal((dims, *fall.shape)) * fall, rng.uniform(*SHIFT)
        for _ in range(3):
            moved = through(np.zeros((dims, *sides)), wave)
            wave = wave * longest * (sides[0] - 1) / np.linalg.norm(moved, axis=0).max()
        if jacobian(moved).min() > 0.2:
            return wave


def through(displacement: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """phi o (id + displacement) - id, (D, *S) in voxels, with phi the map of a velocity; of -wave it is the inverse.

    Midpoint steps; the velocity itself is evaluated, so nothing is interpolated.
    """
    sides = displacement.shape[1:]
    scale = np.array(sides, float)[:, None] - 1
    start = voxels(sides).reshape(len(sides), -1)
    ends = (start + displacement.reshape(len(sides), -1)) / scale
    for first in range(0, ends.shape[1], CHUNK):
        at = ends[:, first : first + CHUNK]
        for _ in range(STEPS):
            middle = at + speed(wave, at) / (2 * STEPS)
            at = at + speed(wave, middle) / STEPS
        ends[:, first : first + CHUNK] = at
    return (ends * scale - start).reshape(displacement.shape)


def speed(wave: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The velocity (D, N) at points (D, N) in [0, 1]: cosines, but sines along its own axis, 0 at the border."""
    cosines, sines = half_waves(at, WAVES)
    axes = range(len(at))
    return np.stack(
        [contracted(own, [(sines if i == axis else cosines)[i] for i in axes]) for axis, own in enumerate(wave)]
    )


def half_waves(at: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """cos(pi k x) for k = 0 ... count - 1 and sin(pi k x) for k = 1 ... count, each (D, count, N), of x (D, N)."""
    turns = np.repeat(np.exp(1j * np.pi * at)[:, None], count + 1, axis=1)
    turns[:, 0] = 1
    turns = turns.cumprod(axis=1)  # powers are cheaper than as many cosines
    return turns.real[:, :-1], turns.imag[:, 1:]


def contracted(amplitudes: np.ndarray, bases: Sequence[np.ndarray]) -> np.ndarray:
    """sum_k a_k prod_i basis_i[k_i] at N points: (N,) from (K, ...) and a basis (K, N) an axis."""
    total = amplitudes @ bases[-1]
    for basis in bases[-2::-1]:
        total = (total * basis).sum(-2)
    return total


def voxels(sides: tuple[int, ...]) -> np.ndarray:
    """(D, *S) the position of every voxel."""
    return np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij")).astype(float)


def jacobian(displacement: np.ndarray) -> np.ndarray:
    """(*S) the determinant of the gradient of id + displacement (D, *S), by central differences."""
    rows = [np.stack(np.gradient(part)) for part in displacement]
    gradient = np.stack(rows) + np.eye(len(rows)).reshape(len(rows), len(rows), *[1] * len(rows))
    return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))


# ---------------------------------------------------------------- the template


def template(at: np.ndarray, options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Grey (*S) in [0, 1] and structures (*S) int16 at positions (D, *S) in voxels; edges are a voxel wide."""
    side = options.side
    centred = at / (side - 1) - 0.5
    along = centred if options.dims == 3 else centred[::-1]  # rows of a slice run along, columns across
    grey, label = np.zeros(at.shape[1:]), np.zeros(at.shape[1:], np.int16)
    texture = 1 + TEXTURE * pattern(options)(centred)
    for value, (_, shade, center, radii) in enumerate(STRUCTURES, 1):
        relative = [(x - c) / r for x, c, r in zip(along, center, radii)]
        radius = np.sqrt(sum(x**2 for x in relative))
        inside = (1 - radius) * min(radii[: options.dims]) * side  # about the distance to the edge, voxels
        share = np.clip(inside + 0.5, 0, 1)
        grey = grey * (1 - share) + shade * texture * share
        label[inside > 0] = value
    return grey, label


def pattern(options: Options) -> Callable[[np.ndarray], np.ndarray]:
    """A texture of the template: waves of 5 to 10 voxels in random directions, of standard deviation 1."""
    rng = np.random.default_rng([options.data_seed, 3])
    directions = rng.standard_normal((12, options.dims))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    numbers = directions * rng.uniform(0.1, 0.2, (12, 1)) * options.side
    phases = rng.uniform(0, 2 * np.pi, 12)

    def texture(at: np.ndarray) -> np.ndarray:
        waves = [np.sin(2 * np.pi * np.tensordot(n, at, 1) + p) for n, p in zip(numbers, phases)]
        return np.sum(waves, 0) / np.sqrt(6)

    return texture
