"""A package as small as can be, with a bit of everything that notebooks show; regressions are planted in its text."""

import base64
import io
import os
import random
import tempfile
import time
import warnings  # noqa: F401 - for a regression
from datetime import datetime

import numpy as np
import pandas as pd
from bokeh.plotting import figure
from PIL import Image, ImageDraw, ImageFilter, ImageOps  # noqa: F401 - for regressions
from tqdm import tqdm

UNIT = "mm"


class Model:
    """What has been trained."""

    weight = 0.5


def train(seed: int, steps: int = 60) -> tuple[Model, dict[str, np.ndarray]]:
    """Two curves that fall, with what a training prints: a bar, a time, a path, an address."""
    rng, model, start = np.random.default_rng(seed), Model(), time.perf_counter()
    curves = {
        "train": np.exp(-np.arange(steps) / 15) + 0.02 * rng.random(steps),
        "valid": np.exp(-np.arange(steps) / 20) + 0.1 + 0.02 * rng.random(steps),
    }
    for _ in tqdm(range(20)):
        time.sleep(random.random() / 2000)
    folder = tempfile.mkdtemp()
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} trained in {time.perf_counter() - start:.2f} s: {model}")
    print(f"written to {os.path.join(folder, 'weights.bin')}")
    print(f"loss {curves['train'][0]:.3f} -> {curves['train'][-1]:.4f} after {steps} steps")
    os.rmdir(folder)
    return model, curves


def scores(seed: int) -> pd.DataFrame:
    """A table: five cases, two scores, a count."""
    rng = np.random.default_rng(seed)
    dice, distance = 0.75 + 0.2 * rng.random(5), 1 + 3 * rng.random(5)
    voxels = rng.integers(900, 1100, 5)
    return pd.DataFrame({"dice": dice, "hd95": distance, "voxels": voxels}, [f"case-{letter}" for letter in "abcde"])


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """The table as the notebook shows it."""
    return table


def picture(case: int, size: int = 96) -> Image.Image:
    """A phantom: an organ and a lesion on a dark ground, where depends on the case."""
    image = Image.new("RGB", (size, size), (12, 10, 16))
    pen, shift = ImageDraw.Draw(image), 9 * case
    pen.ellipse((14, 20, 74, 80), fill=(170, 90, 70))
    pen.ellipse((22 + shift, 30 + shift, 38 + shift, 46 + shift), fill=(230, 210, 120))
    return image


def drawing(curve: np.ndarray, size: tuple[int, int] = (320, 200)) -> Image.Image:
    """A curve drawn into a picture, as plotting libraries do."""
    image = Image.new("RGB", size, "white")
    pen, high = ImageDraw.Draw(image), curve.max()
    pen.line((40, 10, 40, 170, 310, 170), "black")
    points = [(40 + 270 * n / len(curve), 170 - 150 * value / high) for n, value in enumerate(curve)]
    pen.line(points, (0, 114, 178), 2)
    pen.text((150, 180), "steps of training", "black")
    return image


def plot(curves: dict[str, np.ndarray]):
    """The curves as a Bokeh figure."""
    shown = figure(width=400, height=250, title="loss", x_axis_label="step", y_axis_label="loss")
    for (name, values), color in zip(curves.items(), ("#0072B2", "#D55E00")):
        shown.line(np.arange(len(values)), values, legend_label=name, line_color=color)
    return shown


def panel(curves: dict[str, np.ndarray]) -> str:
    """Markup with a picture in it."""
    file = io.BytesIO()
    drawing(curves["valid"]).save(file, "PNG")
    code = base64.b64encode(file.getvalue()).decode()
    return f'<div><b>validation</b> ends at {curves["valid"][-1]:.2f}<img src="data:image/png;base64,{code}"></div>'


def told(table: pd.DataFrame) -> None:
    """A paragraph of numbers, one of which is another one every time."""
    best = table["dice"].idxmax()
    print(f"best: {best} with a Dice of {table['dice'].max():.3f}")
    print(f"mean distance {table['hd95'].mean():.2f} {UNIT}, gain over chance {table['dice'].mean() - 0.5:+.3f}")
    print(f"speed: {random.uniform(1, 1000):.1f} cases per joule")


def refuse(size: int) -> None:
    """An error that the notebook shows on purpose."""
    if size < 1:
        raise ValueError(f"size: expected a positive number, found {size}")


def split(seed: int) -> tuple[set[int], set[int]]:
    """Cases to train on and to test on."""
    order = np.random.default_rng(seed).permutation(20).tolist()
    return set(order[:15]), set(order[15:])
