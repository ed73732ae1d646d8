"""What a method makes of a few images now, as one PNG, without a trace in the training."""

import contextlib
import io
import random
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench import fit
from workbench.method import Batch, Method, Stream

SIZE = (380, 240)  # pixels


@contextlib.contextmanager
def untouched(method: Method) -> Iterator[None]:
    """Inside, the method is in evaluation mode without gradients; afterwards it and all random states are as before."""
    modes, stream = {part: part.training for part in method.modules()}, method.stream
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng([method.device] if method.device.type == "cuda" else []), torch.inference_mode():
            method.eval()
            method.stream = Stream()
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        method.stream = stream
        random.setstate(states[0])
        np.random.set_state(states[1])


def predict(method: Method, batch: Batch) -> Batch:
    """The method's current prediction, without a trace in the method or in any random state."""
    with untouched(method), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at the first steps a prediction may well be poor
        return method.predict(fit.move(batch, method.device, False))


def picture(value: Tensor) -> np.ndarray | None:
    """(B, H, W, 3) uint8 of images (B, 1 or 3, H, W), maps (B, H, W) or the middle of volumes (B, 1 or 3, D, H, W).

    Values in [0, 1] are shown as they are, others stretched to that. None for what is not like a picture.
    """
    if value.ndim == 5:
        value = value[:, :, value.shape[2] // 2]
    value = value[:, None] if value.ndim == 3 else value
    if value.ndim != 4 or value.shape[1] not in (1, 3) or min(value.shape[2:]) < 8 or value.is_complex():
        return None
    value = value.detach().float().cpu().nan_to_num()
    low, high = value.min(), value.max()
    if low < 0 or high > 1:
        value = (value - low) / (high - low).clamp_min(1e-12)
    return value.expand(-1, 3, -1, -1).movedim(1, -1).mul(255).round().to(torch.uint8).numpy()


def tile(columns: int, rows: int, size: tuple[int, int] = SIZE) -> int:
    """The side of the square that a picture gets, so that all fit with gaps of 4 pixels; at most half the height."""
    return max(8, min(size[0] // columns, size[1] // rows, size[1] // 2) - 4)


def sheet(columns: Mapping[str, np.ndarray], size: tuple[int, int] = SIZE) -> bytes:
    """PNG of the pictures: a row a case, a column a kind; small ones are enlarged without smoothing."""
    canvas = Image.new("RGBA", size)
    side = tile(len(columns), max(map(len, columns.values()), default=1), size) if columns else 0
    for x, stack in enumerate(columns.values()):
        for y, array in enumerate(stack):
            scale = side / max(array.shape[:2])
            shape = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
            way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
            canvas.paste(Image.fromarray(array).resize(shape, way), (x * (side + 4), y * (side + 4)))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
