"""Blocks of the real colour images that scikit-image carries."""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from workbench.data import Data
from workbench.data.anatomy.phantoms import blob
from workbench.data.anatomy.slices import SHOWN, Options, Slice, cases, pick


def samples(options: Options = Options()) -> Data:
    """Blocks of scikit-image's `retina.jpg` (fundus) and `ihc.png` (stained colon): real colours, no download.

    Each image is cut into a left part to train on, a middle strip to choose settings on and a right part to test on,
    with a gap of half a block between them. Tissue fills nearly every block, so each is trimmed by a smooth random
    outline, as an organ would be: that outline and the tissue together are the foreground, and everything else is
    background.
    """
    from skimage import data, transform

    splits: dict[str, list[Slice]] = {"train": [], "valid": [], "test": []}
    for number, (name, picture, scale) in enumerate(
        (("retina", data.retina(), 0.5), ("ihc", data.immunohistochemistry(), 1.0))
    ):
        scale = scale * options.size / 64
        shape = (round(picture.shape[0] * scale), round(picture.shape[1] * scale))
        picture = transform.resize(picture, (*shape, 3), anti_aliasing=True)
        for split, area in strips(picture, options.size).items():
            splits[split] += list(blocks(area, options, name, number, split))
    wanted = {"train": options.train, "valid": options.valid, "test": options.test}
    made = {name: cases(pick(splits[name], wanted[name]), options, every=name != "train") for name in wanted}
    return Data("samples", **made, spec={"size": options.size, "regions": 2}, shown=SHOWN)


def strips(picture: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Left, middle and right parts of a picture, with half a block left out between neighbours."""
    width, gap = picture.shape[1], size // 2
    first, second = round(0.55 * width), round(0.55 * width) + round(1.25 * size) + gap
    parts = {"train": (0, first - gap), "valid": (first, second - gap), "test": (second, width)}
    return {name: picture[:, start:stop] for name, (start, stop) in parts.items()}


def blocks(area: np.ndarray, options: Options, name: str, number: int, split: str) -> Iterator[Slice]:
    """The blocks of one part that hold tissue, half overlapping for training and apart for testing."""
    size, step = options.size, options.size // (1 if split == "test" else 2)
    tissue = np.abs(area - border_color(area, name)).max(-1) > 0.12
    tissue = ndimage.binary_erosion(ndimage.binary_closing(tissue, iterations=2), iterations=3)
    for y in range(0, area.shape[0] - size + 1, step):
        for x in range(0, area.shape[1] - size + 1, step):
            window = np.s_[y : y + size, x : x + size]
            rng = np.random.default_rng([options.data_seed, number, y, x, len(split)])
            outline = blob(rng, size, center=rng.uniform(0.45, 0.55, 2), radii=rng.uniform(0.34, 0.44, 2))
            foreground = ndimage.binary_opening(outline & tissue[window], iterations=1)
            if foreground.mean() > 0.25:
                case = f"{name}-{split}-{y:04d}-{x:04d}"
                yield Slice(area[window], foreground, np.eye(2)[number], case, case)


def border_color(area: np.ndarray, name: str) -> np.ndarray:
    """The colour of no tissue: black around a fundus, the glass of a slide (the brightest pixels)."""
    return np.zeros(3) if name == "retina" else np.quantile(area.reshape(-1, 3), 0.98, axis=0)
