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


# ---------------------------------------------------------------- segmentations

DISC = {"cup": (2,), "disc": (1, 2)}  # the disc includes its cup
PARTS = {"anterior": (1,), "posterior": (2,)}
SLOPPINESS = {"crossdenoise": 1.0, "co_teaching": 1.8, "unet": 2.8, "ltnet": 0.9, "voxelmorph": 1.8, "identity": 3.0}


def smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return field / field.std()


def depth(inside: np.ndarray) -> np.ndarray:
    """Signed distance to the border in pixels, positive inside."""
    return ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)


def fundus(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of the eye's ground, (H, W, 3) uint8, and its label map: 1 rim, 2 cup."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    center, radius = rng.uniform(0.42, 0.58, 2), rng.uniform(0.19, 0.25)
    cup = ellipse(size, center + rng.normal(0, 0.015, 2), radius * rng.uniform(0.4, 0.7) * rng.uniform(0.9, 1.1, 2))
    disc = ellipse(size, center, radius * rng.uniform(0.92, 1.08, 2)) | cup
    soft = [np.clip(0.5 + depth(part) / (0.06 * size), 0, 1)[..., None] for part in (disc, cup)]
    shade = 1.12 - 0.9 * ((x - 0.5) ** 2 + (y - 0.5) ** 2) + 0.05 * smooth(rng, (size, size), size / 16)
    color = np.array([176.0, 78.0, 36.0]) * shade[..., None]
    for part, tint in zip(soft, ([232, 158, 84], [250, 214, 150])):
        color = color + part * 0.85 * (np.array(tint) - color)
    for angle in rng.uniform(0, 2 * np.pi) + np.arange(6) * np.pi / 3 + rng.normal(0, 0.2, 6):
        along, bend = np.linspace(0, 1, 4 * size), rng.normal(0, 0.5)
        path = center[:, None] + along * 0.7 * np.array([np.sin(angle + bend * along), np.cos(angle + bend * along)])
        rows, columns = np.clip(path * size, 0, size - 1).astype(int)
        vessel = np.zeros((size, size))
        vessel[rows, columns] = 1
        color = color * (1 - 0.45 * np.clip(ndimage.gaussian_filter(vessel, size / 90) * size / 28, 0, 1)[..., None])
    noisy = color + rng.normal(0, 3, color.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), (disc.astype(np.uint8) + cup).astype(np.uint8)


def hippocampus(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A crop of a T1 volume (R, A, S) uint8 and its label map: 1 anterior, 2 posterior."""
    rng = np.random.default_rng(seed)
    x, y, z = (axis / n for axis, n in zip(np.mgrid[: shape[0], : shape[1], : shape[2]], shape))
    bend = 0.45 + 0.25 * (y - 0.5) + rng.normal(0, 0.02)
    tail = 0.56 - 0.5 * (y - 0.45) ** 2 + rng.normal(0, 0.02)
    width = 0.13 + 0.07 * np.sin(np.pi * np.clip(y, 0, 1)) + rng.normal(0, 0.01)
    body = ((x - bend) / (width * 1.2)) ** 2 + ((z - tail) / width) ** 2 + ((y - 0.5) / 0.36) ** 4 < 1
    label = np.where(body, np.where(y > 0.52 + rng.normal(0, 0.02), 1, 2), 0).astype(np.uint8)
    fluid = ((x - bend - 0.22) / 0.06) ** 2 + ((z - tail - 0.12) / 0.12) ** 2 + ((y - 0.45) / 0.3) ** 2 < 1
    grey = 96 + 22 * smooth(rng, shape, 3.5) + np.where(body, 26, 0) - np.where(fluid, 70, 0)
    grey = ndimage.gaussian_filter(grey, 0.7) + rng.normal(0, 4, shape)
    return np.clip(grey, 0, 255).astype(np.uint8), label


def segmented(arm: str, label: np.ndarray, seed: int) -> np.ndarray:
    """What an arm makes of a label map: its borders moved by a smooth field, and by a bias of the sloppier arms."""
    rng, sloppy = np.random.default_rng(seed), SLOPPINESS[arm]
    scale = np.mean(label.shape) / 64
    move = sloppy * scale * (0.9 * smooth(rng, label.shape, 6 * scale) + rng.normal(0.3, 0.5))
    outer = depth(label > 0) + move > 0
    inner = depth(label == 2) + sloppy * scale * 0.9 * smooth(rng, label.shape, 6 * scale) > 0
    return (outer.astype(np.uint8) + (outer & inner)).astype(np.uint8)


def surface_distances(mask: np.ndarray, target: np.ndarray, spacing: np.ndarray) -> dict:
    """HD95 and the distance of the centroids, in mm."""
    if not (mask.any() and target.any()):
        far = 0.0 if mask.any() == target.any() else float(np.linalg.norm(mask.shape * spacing))
        return {"hd95": far, "centroid": far}
    edges = [part & ~ndimage.binary_erosion(part) for part in (mask, target)]
    away = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    far = max(np.percentile(away[1][edges[0]], 95), np.percentile(away[0][edges[1]], 95))
    middles = [np.array(ndimage.center_of_mass(part)) * spacing for part in (mask, target)]
    return {"hd95": far, "centroid": np.linalg.norm(middles[0] - middles[1])}


def overlap(mask: np.ndarray, label: np.ndarray, labels: dict, spacing: np.ndarray) -> dict:
    """Dice, TPF, HD95 and centroid distance: the means over the classes and each class."""
    found = {}
    for name, values in labels.items():
        one, two = np.isin(mask, values), np.isin(label, values)
        parts = {
            "dice": 2 * (one & two).sum() / max((one.sum() + two.sum()), 1),
            **surface_distances(one, two, spacing),
        }
        found |= {f"{kind}_{name}": v for kind, v in (parts | {"tpf": (one & two).sum() / max(two.sum(), 1)}).items()}
    kinds = ("dice", "hd95", "centroid", "tpf")
    return {kind: np.mean([found[f"{kind}_{name}"] for name in labels]) for kind in kinds} | found


def write_masks(
    root: Path, arm: str, seed: int = 0, cases: int = 12, size: int = 64, volume: bool = False, spacing: float = 1.0
) -> runs.Run:
    """One finished run of a segmentation: photographs (N, H, W, 3), or volumes (N, R, A, S) of unlike sides."""
    labels, kind = (PARTS, "anatomy3d") if volume else (DISC, "fundus")
    shape = (size, size * 3 // 2, size * 5 // 4) if volume else (size, size)
    steps = np.array([1.0, 1.0, 0.8] if volume else [1.0, 1.0], np.float32) * spacing
    request = {"method": arm, "config": {"lr": 1e-3}, "budget": {"epochs": 20, "batch": 4}, "seed": seed}
    run = runs.create(root, request | {"data": {"kind": kind, "source": "phantom", "size": size}}, arm)
    index, rows, arrays = [], [], {"image": [], "label": [], "mask": []}
    for number in range(cases):
        image, label = hippocampus(shape, number) if volume else fundus(size, number)
        mask = segmented(arm, label, (seed * 7919 + number) * 7 + len(arm))
        index.append({"case": f"{'h' if volume else 'f'}{number:04d}", "group": f"p{number // 2:03d}"})
        rows.append(index[-1] | overlap(mask, label, labels, steps))
        for name, array in zip(arrays, (image, label, mask)):
            arrays[name].append(array)
    finish(run, index, pd.DataFrame(rows), {k: np.stack(v) for k, v in arrays.items()}, steps, labels)
    return run


def finish(run: runs.Run, index: list, table: pd.DataFrame, arrays: dict, spacing: np.ndarray, labels: dict) -> None:
    for name, array in (arrays | {"spacing": np.tile(spacing, (len(index), 1))}).items():
        np.save(run.path / "samples" / f"{name}.npy", array)
    names = sorted([*arrays, "spacing"])
    runs.write_json(run.path / "samples" / "index.json", {"cases": index, "arrays": names, "labels": labels})
    table.to_parquet(run.path / "scores.parquet")
    fall = np.exp(-np.arange(20) / 6)
    steps = [{"step": 9 * (e + 1), "epoch": e + 1, "time": e + 1.0, "loss": 0.2 + fall[e]} for e in range(20)]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (run.path / "done").touch()


# ---------------------------------------------------------------- points

WANDER = {"ascoct": 4.0, "organisers": 9.0, "meanpoint": 25.0}  # standard deviation of the errors, source pixels


def write_points(root: Path, arm: str, seed: int = 0, cases: int = 12, size: int = 48, scale: float = 5.0) -> runs.Run:
    """One finished run that finds points in half scans; every sixth point is unknown, `meanpoint` has no heat maps."""
    data = {"kind": "asoct", "source": "phantom", "size": size}
    run = runs.create(root, {"method": arm, "config": {}, "budget": {}, "data": data, "seed": seed}, arm)
    rng, own = np.random.default_rng(3), np.random.default_rng([seed, len(arm)])
    y, x = np.mgrid[:size, :size]
    spur = rng.uniform(0.3, 0.7, (cases, 2)) * size * scale
    known = (np.arange(cases) % 6 != 5).astype(np.float32)
    point = spur + WANDER[arm] * own.standard_normal((cases, 2))
    near = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * (size / 24) ** 2)) for a, b in (spur + 0.5) / scale - 0.5]
    arch = [np.exp(-(((np.hypot(x - size, y - b) - size * 0.6) / (size / 20)) ** 2)) for _, b in (spur / scale)]
    speckle = rng.gamma(4, 0.25, (cases, size, size))
    image = np.clip(255 * speckle * (0.08 + 0.5 * np.array(arch) + 0.25 * np.array(near)), 0, 255).astype(np.uint8)
    arrays = {
        "image": image, "spur": np.where(known[:, None] > 0, spur, -1).astype(np.float32), "known": known,
        "point": point.astype(np.float32), "scale": np.full(cases, scale, np.float32),
    }  # fmt: skip
    if arm != "meanpoint":
        arrays["feature"] = np.array(near, np.float32)[:, None]
    for name, array in arrays.items():
        np.save(run.path / "samples" / f"{name}.npy", array)
    index = [{"case": f"s{n:04d}", "group": f"p{n // 2:03d}"} for n in range(cases)]
    runs.write_json(run.path / "samples" / "index.json", {"cases": index, "arrays": sorted(arrays)})
    distance = np.where(known > 0, np.hypot(*(point - spur).T), np.nan)
    pd.DataFrame([entry | {"ed": d} for entry, d in zip(index, distance)]).to_parquet(run.path / "scores.parquet")
    (run.path / "metrics.jsonl").write_text(json.dumps({"step": 1, "epoch": 1, "time": 1.0, "loss": 0.5}) + "\n")
    (run.path / "done").touch()
    return run


# ---------------------------------------------------------------- traced neurons

SHARPNESS = {"neuronqc": 4.0, "rulescore": 1.5, "chance": 0.0}  # how far scores of wrong nodes lie from right ones


def walk(rng: np.random.Generator, count: int, sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tree of branching walks: nodes (N, 3) z, y, x in voxels and the parent (N,) of each."""
    points, parent, ways = [sides / 2], [-1], [rng.standard_normal(3)]
    for node in range(1, count):
        above = int(rng.integers(node)) if node % 25 == 0 else node - 1
        way = 0.8 * ways[above] + 0.6 * rng.standard_normal(3)
        step = points[above] + 1.6 * way / np.linalg.norm(way)
        out = (step < 2) | (step > sides - 3)
        ways.append(np.where(out, -way, way))
        points.append(step.clip(2, sides - 3))
        parent.append(above)
    return np.array(points), np.array(parent)


def traced(number: int, count: int, sides: np.ndarray) -> dict[str, np.ndarray]:
    """One neuron: its stack, its tree with two wrong ends, and their labels."""
    rng = np.random.default_rng(number)
    points, parent = walk(rng, count - 10 * (number % 3), sides)
    own, onset, branch = len(points), np.zeros(len(points)), np.zeros(len(points))
    begins = np.array([own // 2, own - 12])
    for first in begins:
        branch[first : first + 8] = 1
        onset[first + 1 : first + 8], onset[first - 1 : first + 2] = -1, 1
    volume = np.zeros(sides.astype(int))
    volume[tuple(points[branch == 0].round().astype(int).T)] = 1
    volume = 900 * ndimage.gaussian_filter(volume, 1.0) + rng.normal(30, 9, volume.shape)
    rest = count - own
    pad = {"parent": (parent, -2), "onset": (onset, -1), "branch": (branch, -1)}
    made = {name: np.pad(values, (0, rest), constant_values=fill) for name, (values, fill) in pad.items()}
    return made | {
        "volume": volume.clip(0, 255).astype(np.uint8), "nodes": np.pad(points, ((0, rest), (0, 0))),
        "place": points[begins], "kind": np.array([1 + number % 4, 4]),
    }  # fmt: skip


def write_trees(
    root: Path, arm: str, seed: int = 0, cases: int = 5, count: int = 120, sides=(20, 44, 52), spacing=(2.0, 0.5, 0.5)
) -> runs.Run:
    """One finished run that judges the nodes of traces, in stacks (Z, Y, X) of thick slices; two versions of each."""
    data = {"kind": "neuron", "source": "phantom", "size": max(sides)}
    run = runs.create(root, {"method": arm, "config": {}, "budget": {}, "data": data, "seed": seed}, arm)
    own, rows = np.random.default_rng([seed, len(arm)]), []
    index = [{"case": f"neuron-{n:04d}", "group": f"brain-{n // 2}"} for n in range(cases)]
    made = [traced(n, count, np.array(sides, float)) for n in range(cases)]
    arrays = {name: np.stack([each[name] for each in made]).astype(np.float32) for name in made[0]}
    arrays["volume"] = arrays["volume"].astype(np.uint8)
    logit = SHARPNESS[arm] * (arrays["onset"] != 0) + 1.2 * own.standard_normal((cases, count)) - 2
    score = np.where(arrays["parent"] > -2, 1 / (1 + np.exp(-logit)), 0)
    for name, values in (arrays | {"score": score}).items():
        if name in ("parent", "onset", "branch", "nodes", "score"):
            arrays[name] = np.repeat(values[:, None], 2, axis=1).astype(np.float32)
    arrays |= {"mask": (score > 0.72).astype(np.uint8), "image": arrays["volume"].max(1)}
    fixed = {"spacing": spacing, "block": (1, 1, 1), "origin": (10.0, 20.0, 30.0), "tolerance": 3.0}
    arrays |= {name: np.full((cases, *np.shape(value)), value, np.float32) for name, value in fixed.items()}
    for number, entry in enumerate(index):
        right, alert = arrays["onset"][number, 0] == 0, arrays["mask"][number] > 0
        wrong = arrays["onset"][number, 0] == 1
        ranks = score[number][wrong][:, None] > score[number][right]
        rows.append(entry | {"ap": ranks.mean() / 2, "auroc": ranks.mean(), "detected": float(alert[wrong].any())})
        rows[-1]["false_alerts"] = alert[right].mean()
    for name, array in arrays.items():
        np.save(run.path / "samples" / f"{name}.npy", array)
    told = {"cases": index, "arrays": sorted(arrays), "labels": {}, "unit": "µm"}
    runs.write_json(run.path / "samples" / "index.json", told)
    pd.DataFrame(rows).to_parquet(run.path / "scores.parquet")
    (run.path / "metrics.jsonl").write_text(json.dumps({"step": 1, "epoch": 1, "time": 1.0, "loss": 0.5}) + "\n")
    (run.path / "done").touch()
    return run


# ---------------------------------------------------------------- videos

SWAYS = {"videogan": 0.01, "reinhard": 0.04, "direct": 0.0}  # how much the brightness of frames is changed to and fro


def level(frame: int) -> int:
    """What is in a corner of a frame, in red: every frame of a clip is told by it."""
    return 40 + 10 * frame


def filmed(number: int, frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip (T, H, W, 3) of a disc that wanders, and its label maps (T, H, W)."""
    y, x = np.mgrid[:size, :size]
    at = size * (0.35 + 0.3 * np.arange(frames) / frames)
    label = np.stack([np.hypot(y - size * 0.5, x - a) < size * (0.12 + 0.01 * number) for a in at])
    levels = np.array([level(frame) for frame in range(frames)])
    clip = np.zeros((frames, size, size, 3)) + np.stack([levels, 90 + 0 * levels, 70 + 0 * levels], -1)[:, None, None]
    clip[label] += (60, 10, 0)
    return clip.astype(np.uint8), label.astype(np.uint8)


def write_videos(
    root: Path, arm: str, seed: int = 0, cases: int = 4, frames: int = 6, size: int = 24, kind: str = "endoscopy"
) -> runs.Run:
    """One finished run of a translation; the second clip is two frames shorter, of the last one nothing is labelled."""
    data = {"kind": kind, "source": "phantom", "size": size, "frames": frames}
    run = runs.create(root, {"method": arm, "config": {}, "budget": {}, "data": data, "seed": seed}, arm)
    rows, index = [], [{"case": f"clip-{n}", "group": f"clip-{n}"} for n in range(cases)]
    arrays: dict[str, list] = {"image": [], "label": [], "color": [], "mask": []}
    length = np.full(cases, frames, np.float32)
    length[1] -= 2
    for number, entry in enumerate(index):
        image, label = filmed(number, frames, size)
        own = int(length[number])
        image[own:], label[own:] = image[own - 1], label[own - 1]
        sway = 255 * SWAYS[arm] * (-1.0) ** np.arange(frames)[:, None, None, None]
        color = np.clip(image * np.array([0.8, 1.0, 1.2]) + sway, 0, 255).astype(np.uint8)
        mask = np.roll(label, 1 + len(arm) % 3, axis=1)
        both = 2 * (mask & label)[:own].sum() / (mask[:own].sum() + label[:own].sum())
        change = (color.mean((1, 2)) - image.mean((1, 2)))[:own] / 255
        known = number < cases - 1
        rows.append(entry | {"dice": both if known else np.nan, "wasserstein": 0.1, "flicker": change.std(0).mean()})
        rows[-1] |= {"motion": 0.02 + SWAYS[arm], "content": 0.9}
        for name, array in zip(arrays, (image, label if known else 0 * label, color, mask)):
            arrays[name].append(array)
    stacked = {name: np.stack(parts) for name, parts in arrays.items()} | {"length": length}
    finish(run, index, pd.DataFrame(rows), stacked, np.ones(3, np.float32), {"polyp": (1,)})
    return run


# ---------------------------------------------------------------- modalities

BLUR = {"tcmgan": 0.6, "pix2pix": 1.4}  # pixels


def brain(number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """T2, FLAIR, T1ce and T1 (4, H, W) uint8 of a slice, and its tumour (H, W), which every fourth one is without."""
    y, x = np.mgrid[:size, :size] / size
    head, tumour = np.hypot(y - 0.5, x - 0.5) < 0.42, np.hypot(y - 0.45, x - 0.4 - 0.02 * number) < 0.12
    tumour &= number % 4 != 3
    images = [
        np.where(tumour, bright, np.where(head, tissue, 0))
        for bright, tissue in ((220, 90), (240, 110), (60, 150), (50, 120))
    ]
    return np.stack(images).astype(np.uint8), tumour.astype(np.uint8)


def write_modalities(root: Path, arm: str, seed: int = 0, cases: int = 6, size: int = 32) -> runs.Run:
    """One finished run of a synthesis: modalities blurred, tumours found a little beside where they are."""
    data = {"kind": "brain", "source": "phantom", "size": size}
    run = runs.create(root, {"method": arm, "config": {}, "budget": {}, "data": data, "seed": seed}, arm)
    index = [
        {"case": f"b{n:03d}", "group": f"b{n:03d}", "background": "healthy" if n % 4 == 3 else "tumour"}
        for n in range(cases)
    ]
    rows, arrays = [], {key: [] for key in ("image", "target", "color", "label", "foreground", "mask")}
    for number, entry in enumerate(index):
        images, tumour = brain(number, size)
        target = np.moveaxis(images[1:], 0, -1)
        color = ndimage.gaussian_filter(target.astype(float), (BLUR[arm], BLUR[arm], 0)) + 3 * (seed + number % 2)
        color, mask = color.clip(0, 255).astype(np.uint8), np.roll(tumour, len(arm) % 3, 1)
        error = np.abs(color.astype(float) - target).mean() / 255
        dice = 2 * (mask & tumour).sum() / max(mask.sum() + tumour.sum(), 1) if tumour.any() else np.nan
        rows.append(entry | {"fg_psnr": -20 * np.log10(error), "mae": error, "dice_p1": dice})
        for name, array in zip(arrays, (images[0], target, color, tumour, (images[0] > 0).astype(np.uint8), mask)):
            arrays[name].append(array)
    stacked = {name: np.stack(parts) for name, parts in arrays.items()}
    finish(run, index, pd.DataFrame(rows), stacked, np.ones(2, np.float32), {"tumour": (1,)})
    return run


# ---------------------------------------------------------------- classifications

CLASSES = ("tan", "brown", "slate", "red")
FINDINGS = ("nodule", "effusion")
SKILL = {"cclnet": 2.5, "hardlabels": 1.2, "pretrained": 1.8}  # how far the classes lie apart


def write_classes(
    root: Path, arm: str, seed: int = 0, cases: int = 40, size: int = 24, findings: bool = False, train: int = 100
) -> runs.Run:
    """One finished run that tells classes apart, or findings of which every fifth is unknown; `pretrained` cannot call.

    Two cases in a row are of one group. Features have six numbers.
    """
    kind, names = ("radiograph", FINDINGS) if findings else ("lesion", CLASSES)
    data = {"kind": kind, "name": "phantom", "size": size, "train": 100, "labelled": train if findings else 0}
    run = runs.create(root, {"method": arm, "config": {}, "budget": {}, "data": data, "seed": seed}, arm)
    rng, own = np.random.default_rng(5), np.random.default_rng([seed, len(arm), train])
    group = np.arange(cases) // 2
    number = rng.integers(len(CLASSES), size=cases)[group]
    there = np.stack([number % 2, number // 2], 1)
    skill, count = SKILL[arm] * (train / 100) ** 0.5, len(names)
    ways = np.eye(6)[: len(CLASSES)]
    feature = 4 + skill * ways[number] + own.normal(0, 0.7, (cases, 6))
    arrays = {"image": np.stack([filmed(n, 2, size)[0][0] for n in number]), "feature": feature.astype(np.float16)}
    logits = skill * ((there if findings else ways[number]) - 0.5) + own.normal(0, 0.6, (cases, count))
    rows = [{"case": f"c{n:04d}", "group": f"g{group[n]:03d}"} for n in range(cases)]
    scores = pd.DataFrame(rows)
    if findings:
        known = np.ones((cases, count), np.float32)
        known[4::5, 1] = 0
        arrays |= {"label": there.astype(np.uint8), "known": known}
        right = ((logits > 0) == there).mean(1)
    else:
        arrays["class"] = number.astype(np.float32)
        right = (logits.argmax(1) == number).astype(float)
    if arm == "pretrained":
        scores["nce"] = 1.0
    else:
        scores["accuracy"] = right
        arrays["score" if findings else "logits"] = (1 / (1 + np.exp(-logits)) if findings else logits).astype("f4")
    told = {"truth": "label" if findings else "class", "train": train, "whole": []}
    if arm == "cclnet" and not findings:
        similar = np.kron(np.eye(2), np.full((2, 2), 0.5)) + 0.5 * np.eye(4)
        noise = own.normal(0, 0.05, (4, 4))
        whole = {"similarity": similar, "correlation": (similar * 1.6 - 0.6 + noise + noise.T).clip(-1, 1)}
        told["whole"] = sorted(whole)
        for name, array in whole.items():
            np.save(run.path / "samples" / f"{name}.npy", array.astype(np.float32))
    for name, array in arrays.items():
        np.save(run.path / "samples" / f"{name}.npy", array)
    told |= {"cases": rows, "arrays": sorted(arrays), "labels": {name: [n] for n, name in enumerate(names)}}
    runs.write_json(run.path / "samples" / "index.json", told)
    scores.to_parquet(run.path / "scores.parquet")
    (run.path / "metrics.jsonl").write_text(json.dumps({"step": 1, "epoch": 1, "time": 1.0, "loss": 0.5}) + "\n")
    (run.path / "done").touch()
    return run
