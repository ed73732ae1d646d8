"""Labels as careless or biased annotators draw them: outlines too large, too small, shifted, bent or mixed up."""

import math

import numpy as np
from scipy import ndimage

SEVERITY = (0.05, 0.15)  # how far an outline is off, in diameters of the disc (card: label corruption)
KINDS = ("dilation", "erosion", "shift", "warp", "swap")


def plan(count: int, rho: float, bias: float, rng: np.random.Generator) -> list[str]:
    """What happens to each label: one of KINDS for exactly round(rho count) of them, "" for the others.

    Of these a share `bias` is dilated and the rest gets every kind equally often, so that there are always more
    outlines too large than too small: errors without a direction average out and would make any method look robust.
    A higher rho adds corruptions and changes none.
    """
    order = rng.permutation(count)
    others = [str(kind) for _ in range(-(-count // len(KINDS))) for kind in rng.permutation(KINDS)]
    kinds = [""] * count
    for rank, item in enumerate(order[: round(rho * count)]):
        biased = math.floor((rank + 1) * bias) > math.floor(rank * bias)
        kinds[item] = "dilation" if biased else others[rank - math.floor(rank * bias)]
    return kinds


def corrupt(label: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """A label map (H, W) with 0, 1 rim, 2 cup, made wrong in one way; the cup stays within the disc.

    The severity s is drawn between 5 and 15 % of the disc's diameter D, at least a pixel. Dilation and erosion move
    both outlines by s; a shift goes 2 s, which moves an outline by 4 s / pi on average; a warp moves its points by
    1.5 s in the quadratic mean (inferred); a swap gives the cup's value to the rim and the rim's to the cup.
    """
    diameter = 2 * math.sqrt((label > 0).sum() / math.pi)
    severity = max(1.0, rng.uniform(*SEVERITY) * diameter)
    if kind == "swap":
        return np.where(label > 0, 3 - label, 0)
    if kind == "shift":
        angle = rng.uniform(0, 2 * math.pi)
        step = np.rint(2 * severity * np.array([math.sin(angle), math.cos(angle)])).astype(int)
        return ndimage.shift(label, step, order=0)
    if kind == "warp":
        return warped(label, 1.5 * severity, diameter / 4, rng)
    return moved(label, severity if kind == "dilation" else -severity)


def moved(label: np.ndarray, step: float) -> np.ndarray:
    """Both outlines moved outwards by `step` pixels, or inwards where it is negative.

    What is eroded keeps the innermost two fifths of its depth: no outline vanishes.
    """
    disc, cup = (signed_distance(mask) for mask in (label > 0, label > 1))
    inside_disc, inside_cup = (level <= max(step, 0.6 * level.min()) for level in (disc, cup))
    return inside_disc * (1 + inside_cup.astype(label.dtype))


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the outline in pixels, negative inside; the outline runs between the pixels."""
    outside, inside = (ndimage.distance_transform_edt(side) for side in (~mask, mask))
    return np.where(mask, 0.5 - inside, outside - 0.5)


def warped(label: np.ndarray, amplitude: float, smoothness: float, rng: np.random.Generator) -> np.ndarray:
    """The label map pulled about by a smooth random field of so many pixels in the quadratic mean."""
    field = ndimage.gaussian_filter(rng.standard_normal((2, *label.shape)), (0, smoothness, smoothness), mode="wrap")
    field *= amplitude / np.sqrt((field**2).sum(0).mean())
    return ndimage.map_coordinates(label, np.indices(label.shape) + field, order=0)
