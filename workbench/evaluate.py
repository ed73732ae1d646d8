"""A trained method on the test cases: a row of scores a case, and the arrays that are kept to look at."""

import numpy as np
import pandas as pd
import torch

from workbench import data, fit, method

PIXELS = ("image", "target", "color")  # in [0, 1]: kept as uint8 with the channels last
LABELS = ("mask", "label", "foreground")  # whole numbers: kept as uint8
HALF = 65504.0  # the largest float16


def assess(model: method.Method, source: data.Data) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The table of scores, one row a test case, and the arrays to look at."""
    scores: list[dict[str, torch.Tensor]] = []
    arrays: dict[str, list] = {}
    for given, prediction, values in fit.evaluate(model, source.test):
        scores.append(values)
        for key, value in ({k: given[k] for k in source.shown} | prediction).items():
            arrays.setdefault(key, []).append(encoded(key, value))
    columns = {key: value.numpy() for key, value in fit.gathered(model, scores).items()}
    return pd.DataFrame(source.test.table | columns), {key: np.concatenate(parts) for key, parts in arrays.items()}


def learned(model: method.Method) -> dict[str, np.ndarray]:
    """The arrays of the whole run that the method keeps, float32."""
    return {key: value.detach().float().cpu().numpy() for key, value in model.learned().items()}


def encoded(key: str, value: torch.Tensor) -> np.ndarray:
    """As it is kept: pixels and labels (B, C, *S) as uint8 (B, *S) or (B, *S, 3), findings (B, L) as uint8, features
    (B, D) as float16, all else bytes as such or float32."""
    if value.dtype == torch.uint8:
        return value.cpu().numpy()
    if key == "feature" and value.ndim == 2:  # a vector a case, for as many cases as there are
        return value.float().clamp(-HALF, HALF).half().cpu().numpy()
    if key not in PIXELS + LABELS:
        return value.float().cpu().numpy()
    value = value.float() * 255 if key in PIXELS else value
    value = value.round().clamp(0, 255).to(torch.uint8).cpu()
    return (value[:, 0] if value.ndim > 2 and value.shape[1] == 1 else value.movedim(1, -1)).numpy()
