"""Synthetic run folders for the dashboard: coloured phantoms, and arms that colour them more or less well."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.color import deltaE_ciede2000, rgb2lab

from workbench import runs

TISSUES = np.array(  # fat, muscle, liver, bone, lung, kidney
    [[222, 178, 102], [158, 62, 48], [104, 40, 34], [231, 219, 190], [196, 132, 128], [134, 74, 92]], float
)
ARMS = {  # share of organs given a wrong tissue, hue noise, leakage into the background
    "smcgan": (0.05, 5.0, 1.0),
    "wgan_gp": (0.18, 9.0, 7.0),
    "no_gan2": (0.10, 7.0, 4.0),
    "gray": (0.0, 0.0, 0.0),
}


def ellipse(size: int, center: np.ndarray, axes: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size
    return ((x - center[0]) / axes[0]) ** 2 + ((y - center[1]) / axes[1]) ** 2 < 1


def phantom(size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A slice: organ labels (H, W), 0 background, its foreground (H, W) and its texture (H, W) around 1.0."""
    rng = np.random.default_rng(seed)
    axes = np.array([rng.uniform(0.34, 0.45), rng.uniform(0.27, 0.36)])
    labels = ellipse(size, np.array([0.5, 0.5]), axes).astype(int)
    labels[ellipse(size, np.array([0.5, 0.5]), axes * 0.86)] = 2
    for tissue in rng.permutation([3, 4, 4, 5, 6, 6])[: rng.integers(4, 7)]:
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.55)
        center = 0.5 + reach * axes * [np.cos(angle), np.sin(angle)]
        organ = ellipse(size, center, rng.uniform(0.05, 0.15, 2))
        labels[organ & (labels == 2)] = tissue
    texture = 1 + 0.5 * ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.2)
    return labels, labels > 0, texture


def paint(labels: np.ndarray, tissues: np.ndarray, texture: np.ndarray, white: bool) -> np.ndarray:
    """Colour (H, W, 3) in 0..255 of labelled tissue on a black or white background."""
    table = np.vstack([[250.0] * 3 if white else [4.0] * 3, tissues])
    shade = np.where(labels > 0, texture, 1.0)[..., None]
    return np.clip(ndimage.gaussian_filter(table[labels], (0.6, 0.6, 0)) * shade, 0, 255)


def colorize(arm: str, labels: np.ndarray, texture: np.ndarray, grey: np.ndarray, white: bool, seed: int):
    """What an arm makes of a slice: colour (H, W, 3) in 0..255 and its mask (H, W)."""
    wrong, hue, leak = ARMS[arm]
    rng = np.random.default_rng(seed)
    swapped = np.where(rng.random(len(TISSUES)) < wrong, rng.permutation(len(TISSUES)), np.arange(len(TISSUES)))
    tissues = TISSUES[swapped] + rng.normal(0, hue, TISSUES.shape)
    color = paint(labels, tissues, texture, white) if hue else np.repeat(grey[..., None], 3, axis=2)
    blot = ndimage.gaussian_filter(rng.standard_normal((*labels.shape, 3)), (3, 3, 0)) * 12
    color = color + np.where(labels[..., None] > 0, hue, leak) * blot / 3 + rng.normal(0, hue / 3, color.shape)
    edge = ndimage.gaussian_filter(rng.standard_normal(labels.shape), 3) * hue
    mask = ndimage.gaussian_filter((labels > 0).astype(float), 1.5) + edge / 6 > 0.5
    return np.clip(color, 0, 255), mask


def scores(target: np.ndarray, color: np.ndarray, foreground: np.ndarray, mask: np.ndarray, stride: int) -> dict:
    """The metrics of one case; SSIM in one window and CIEDE2000 on every `stride`-th pixel, to be quick."""
    a, b = target / 255.0, color / 255.0
    lab = [rgb2lab(x[::stride, ::stride]) for x in (a, b)]
    covariance = ((a - a.mean()) * (b - b.mean())).mean()
    ssim = (2 * a.mean() * b.mean() + 1e-4) * (2 * covariance + 9e-4)
    ssim /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4)
    error, inside = (a - b) ** 2, foreground > 0
    return {
        "mae": np.abs(a - b).mean(),
        "mse": error.mean(),
        "psnr": -10 * np.log10(error.mean()),
        "ssim": ssim,
        "fg_mae": np.abs(a - b)[inside].mean(),
        "fg_psnr": -10 * np.log10(error[inside].mean()),
        "fg_ssim": ssim**1.5,
        "leakage": np.ptp(b, axis=2)[~inside].mean(),
        "iou": (inside & (mask > 0)).sum() / (inside | (mask > 0)).sum(),
        "ciede2000": deltaE_ciede2000(*lab).mean(),
    }


def draw(arm: str, seed: int, cases: int, size: int, stride: int) -> tuple[list[dict], dict, pd.DataFrame]:
    """The index, the arrays and the table of scores of one arm; the truth is the same for every arm."""
    index, arrays, rows = [], {k: [] for k in ("image", "target", "color", "mask", "foreground")}, []
    for number in range(cases):
        white = bool(number % 2)
        labels, foreground, texture = phantom(size, number // 2)
        target = paint(labels, TISSUES, texture, white).astype(np.uint8)
        grey = target @ [0.299, 0.587, 0.114]
        color, mask = colorize(arm, labels, texture, grey, white, (seed * 7919 + number) * 7 + len(arm))
        drawn = [grey, target, color, mask, foreground]
        for key, value in zip(arrays, drawn, strict=True):
            arrays[key].append(value.astype(np.uint8))
        entry = {"case": f"s{number // 2:04d}{'w' if white else 'b'}", "group": f"block{number // 16:02d}"}
        index.append(entry | {"background": "white" if white else "black"})
        rows.append(index[-1] | scores(target, arrays["color"][-1], foreground, mask, stride))
    return index, arrays, pd.DataFrame(rows)


def curves(arm: str, seed: int, epochs: int) -> list[dict]:
    rng, noisy = np.random.default_rng(seed), 1 + ARMS[arm][1] / 10
    fall = np.exp(-np.arange(epochs) / (epochs / 4))
    noise = rng.normal(1, 0.06, (4, epochs))
    values = {
        "color": (0.02 * noisy + 0.16 * fall) * noise[0],
        "loss/generator": (3 + 14 * noisy * fall) * noise[1],
        "loss/critic": -(0.4 + 6 * fall) * noise[2],
        "val/fg_psnr": 27 - 3 * noisy - 11 * fall * noise[3],
    }
    steps = [{"step": 12 * (e + 1), "epoch": e + 1, "time": round(1.7 * (e + 1), 3)} for e in range(epochs)]
    return [step | {k: float(v[e]) for k, v in values.items()} for e, step in enumerate(steps)]


def write(root: Path, arm: str, seed: int = 0, cases: int = 24, size: int = 64, stride: int = 1) -> runs.Run:
    """One finished run of an arm with its samples, scores and curves; returns it."""
    config = {"base": 12, "l_color": 100.0, "l_gan1": 1.0, "l_gan2": 0.0 if arm == "no_gan2" else 1.0, "lr": 2e-4}
    request = {
        "method": "wgan_gp" if arm == "wgan_gp" else "gray" if arm == "gray" else "smcgan",
        "config": {} if arm == "gray" else config,
        "budget": {"epochs": 40, "batch": 8},
        "data": {"kind": "color", "source": "phantom", "size": size},
        "seed": seed,
    }
    run = runs.create(root, request, arm)
    index, arrays, table = draw(arm, seed, cases, size, stride)
    if arm == "gray":
        arrays.pop("mask")
        table["iou"] = np.nan
    for key, values in arrays.items():
        np.save(run.path / "samples" / f"{key}.npy", np.stack(values))
    runs.write_json(run.path / "samples" / "index.json", {"cases": index, "arrays": list(arrays)})
    table.to_parquet(run.path / "scores.parquet")
    rows = [] if arm == "gray" else curves(arm, seed, 40)
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run.path / "done").touch()
    return run
