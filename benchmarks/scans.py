"""Half scans a second of the AS-OCT method and of the organisers' baselines, at the tiny preset.

Both have a classifier and a localizer with the same encoders and take the same batches. First a batch is compared with
its halves one by one; then the ways take turns: a training step, the prediction of a batch, and of one half alone.
The last row is a whole scan of 2130 x 998 pixels from a JPEG file in memory to two halves on the network's grid.

    python benchmarks/scans.py [--batch 16] [--repeats 15]
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from workbench import fit, method
from workbench.data import asoct
from workbench.data.asoct.halves import Scan

NAMES = ("ascoct", "organisers")


def decoded(file: bytes, size: int) -> list[np.ndarray]:
    """Both halves of a scan as the loader reads them."""
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert("L"), np.float32) / 255
    return [half.image for half in asoct.cut(Scan(pixels, (None, None), (False, False), "", ""), size)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scans.json")
    chosen = parser.parse_args()
    part = asoct.phantom(asoct.Options(train=chosen.batch, valid=4, test=4)).train
    batch = part.__getitems__(range(chosen.batch))
    one = {key: value[:1] for key, value in batch.items()}
    ways: dict[str, tuple[Callable[[], object], int]] = {}
    for name in NAMES:
        torch.manual_seed(0)
        model = method.method_class(name)(method.module(name).Config()).eval()
        compare(model, batch, one)
        budget = fit.Budget(epochs=1, batch=chosen.batch, valid_every=0, precision="float32", device="cpu")
        ways[f"{name}, training"] = (
            lambda m=model, b=budget: fit.fit(m.train(), part, b, watch=lambda told: None),
            chosen.batch,
        )
        ways[f"{name}, prediction"] = (lambda m=model: m.eval().predict(batch), chosen.batch)
        ways[f"{name}, one by one"] = (lambda m=model: m.eval().predict(one), 1)
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (998, 2130), np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    ways["scan read and cut"] = (lambda: decoded(file.getvalue(), 96), 2)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.repeats + 1):
        for name, (act, halves) in ways.items():
            start = time.perf_counter()
            with torch.inference_mode("training" not in name):
                act()
            rates[name].append(halves / (time.perf_counter() - start))
    record = {name: spread(values[1:]) for name, values in rates.items()}  # the first turn warms up
    record |= {"batch": chosen.batch, "threads": torch.get_num_threads()}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


@torch.inference_mode()
def compare(model: method.Method, batch: method.Batch, one: method.Batch) -> None:
    """A batch says of its first half what that half alone says."""
    together, alone = model.predict(batch), model.predict(one)
    for key, value in alone.items():
        torch.testing.assert_close(together[key][:1], value, atol=1e-4, rtol=1e-4)


def spread(rates: list[float]) -> dict[str, float]:
    return {
        "halves_per_s": round(statistics.median(rates), 1), "min": round(min(rates), 1), "max": round(max(rates), 1)
    }  # fmt: skip


if __name__ == "__main__":
    main()
