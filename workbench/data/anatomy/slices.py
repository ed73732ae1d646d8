"""One colour slice: its foreground, its painted backgrounds, and how slices become the cases of a split."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy import ndimage

from workbench.config import Config, Count, Natural, Side
from workbench.data import Cases

LUMA = np.array([0.299, 0.587, 0.114])  # Rec. 601
SHOWN = ("image", "target", "foreground")


@dataclass(frozen=True)
class Options(Config):
    source: Literal["phantom", "samples"] = "phantom"  # what to use where no root is given
    root: str = ""  # a folder of colour images of your own: images/ with masks/ and labels.csv if present
    size: Side = 64  # side of the square images, pixels
    train: Count = 96  # images to train on (card: tiny preset)
    test: Count = 24  # images to test on, each on black and on white (card: tiny preset)
    valid: Count = 12  # images for choosing settings, apart from both (inferred)
    background: Literal["both", "black", "white", "keep"] = "both"  # what is painted outside the foreground
    data_seed: Natural = 0  # which phantoms are drawn; how a folder is split


@dataclass
class Slice:
    """One colour image (H, W, 3) in [0, 1], its foreground (H, W) bool, class shares (K,), and its group."""

    color: np.ndarray
    foreground: np.ndarray
    region: np.ndarray
    case: str
    group: str


def pick(slices: list[Slice], count: int) -> list[Slice]:
    """`count` slices spread evenly over those at hand; all of them where there are fewer."""
    return [slices[i] for i in np.linspace(0, len(slices) - 1, min(count, len(slices))).round().astype(int)]


def fitted(image: np.ndarray, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """(H, W, C) scaled so that the longer side is `size`, centred on a square that continues the border's colour.

    Also returns where the image lies in it: top, left, height, width.
    """
    height, width = (max(1, round(side * size / max(image.shape[:2]))) for side in image.shape[:2])
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1)[None]
    small = torch.nn.functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    small = small[0].permute(1, 2, 0).clamp(0, 1).numpy()
    top, left = (size - height) // 2, (size - width) // 2
    out = np.empty((size, size, image.shape[2]), np.float32)
    out[:] = border(small)
    out[top : top + height, left : left + width] = small
    return out, (top, left, height, width)


def fitted_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """(H, W) bool, fitted as its image is; outside it is background."""
    grown, (top, left, height, width) = fitted(mask[..., None].astype(np.float32), size)
    inside = np.zeros((size, size), bool)
    window = np.s_[top : top + height, left : left + width]
    inside[window] = grown[window][..., 0] > 0.5
    return inside


def border(color: np.ndarray) -> np.ndarray:
    """The median colour of the outermost pixels."""
    return np.median(np.concatenate([color[0], color[-1], color[:, 0], color[:, -1]]), axis=0)


def stained(color: np.ndarray) -> np.ndarray:
    """(H, W) bool: tissue told from background by Otsu's threshold (inferred).

    Where the border is light (a slide, skin) tissue is what absorbs, by its darkest channel; where it is dark (a
    fundus, a cryosection in its block) tissue is what differs from the border's colour. Holes under 1 % of the image
    are filled.
    """
    from skimage.filters import threshold_otsu
    from skimage.morphology import remove_small_holes

    light = border(color) @ LUMA > 0.5
    signal = 1 - color.min(-1) if light else np.abs(color - border(color)).max(-1)
    tissue = ndimage.binary_opening(signal > threshold_otsu(signal), iterations=1)
    return remove_small_holes(tissue, max_size=tissue.size // 100)


def pseudo_foreground(color: np.ndarray, threshold: float = 0.1, one_body: bool = False) -> np.ndarray:
    """(H, W) bool: what is not background, told from the colour image alone (card, section 4: threshold).

    A pixel counts where any channel is further than `threshold` from the border's colour. For `one_body` among clutter,
    specks and parts smaller than a quarter of the largest (trays, dust) are dropped and holes filled.
    """
    differs = np.abs(color - border(color)).max(-1) > threshold
    if not one_body:
        return differs
    parts, _ = ndimage.label(ndimage.binary_opening(differs))
    areas = np.bincount(parts.ravel(), minlength=2)[1:]
    keep = 1 + np.flatnonzero(areas >= max(areas.max() / 4, 1))
    return ndimage.binary_fill_holes(np.isin(parts, keep))


def cases(slices: list[Slice], options: Options, *, every: bool, clutter: bool = False) -> Cases:
    """The slices with their backgrounds painted: `every` one on black and on white, otherwise by turns."""
    shown = [(one, white) for n, one in enumerate(slices) for white in backgrounds(options.background, n, every)]
    keys = ("image", "target", "foreground", "pseudo")
    stacks: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    for one, white in shown:
        color = one.color if white is None else painted(one, white, clutter)
        target = np.round(color * 255).astype(np.uint8)
        stacks["target"].append(target.transpose(2, 0, 1))
        stacks["image"].append(np.round(target @ LUMA).astype(np.uint8)[None])
        stacks["foreground"].append(one.foreground[None].astype(np.uint8) * 255)
        pseudo = pseudo_foreground(target / 255, one_body=clutter)
        stacks["pseudo"].append(pseudo[None].astype(np.uint8) * 255)
    tensors = {key: torch.from_numpy(np.stack(stack)) for key, stack in stacks.items()}
    names = {True: "white", False: "black", None: "kept"}
    table = {
        "case": [f"{one.case}-{names[white]}" for one, white in shown],
        "group": [one.group for one, _ in shown],
        "background": [names[white] for _, white in shown],
    }
    tensors["white"] = torch.tensor([bool(white) for _, white in shown])
    tensors["region"] = torch.from_numpy(np.stack([one.region for one, _ in shown])).float()
    return Cases(tensors, table)


def backgrounds(which: str, number: int, every: bool) -> list[bool | None]:
    if which == "both":
        return [False, True] if every else [number % 2 == 1]
    return {"black": [False], "white": [True], "keep": [None]}[which]


def painted(one: Slice, white: bool, clutter: bool) -> np.ndarray:
    color = np.where(one.foreground[..., None], one.color, float(white))
    if clutter:
        seed = int.from_bytes(hashlib.sha256(one.case.encode()).digest()[:4])
        color = add_clutter(np.random.default_rng([seed, white]), color, one.foreground)
    return np.clip(color, 0, 1)


def add_clutter(rng: np.random.Generator, image: np.ndarray, foreground: np.ndarray) -> np.ndarray:
    """The image with a neutral tray and specks of dust painted into its background."""
    size, out = len(image), image.copy()
    background, outside = ~foreground, ~ndimage.binary_dilation(foreground, iterations=2)
    row, left, right = rng.uniform(0.88, 0.93), *rng.uniform((0.1, 0.7), (0.3, 0.9))
    tray = np.zeros_like(foreground)
    tray[int(row * size) : int(row * size) + max(2, size // 32), int(left * size) : int(right * size)] = True
    out[tray & outside] = rng.uniform(0.35, 0.65)
    out[(rng.random(foreground.shape) < 0.01) & outside] = rng.uniform(0.3, 0.7)
    noise = 0.02 * np.abs(rng.standard_normal(foreground.shape))[..., None]
    return np.where(background[..., None], np.abs(out - noise), out)
