"""The loop against a bare PyTorch loop on a small net: time a step, after checking that both end at the same weights.

python benchmarks/fit.py [--repeats 9]
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from workbench import fit, method
from workbench.config import Config
from workbench.data import Cases

STEPS, BATCH = 150, 16


class Small(method.Method):
    """A three-layer convolutional net that learns the negative of an image."""

    def __init__(self) -> None:
        super().__init__(Config())
        layers = (nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.net = nn.Sequential(*layers, nn.Conv2d(16, 1, 3, padding=1))

    def optimizers(self):
        return {"net": torch.optim.Adam(self.net.parameters(), 1e-3)}

    def updates(self, batch):
        loss = (self.net(batch["image"]) - batch["target"]).square().mean()
        yield "net", loss, {"mse": loss.detach()}


def data() -> Cases:
    images = torch.rand(STEPS * BATCH, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    return Cases({"image": images, "target": 1 - images}, {})


def bare(model: Small, cases: Cases) -> float:
    """Seconds a step of the loop that one would write by hand, on the same order of items."""
    optimizer = model.optimizers()["net"]
    items = fit.order(len(cases), 0, 1)
    start = time.perf_counter()
    for first in range(0, len(items), BATCH):
        chosen = torch.as_tensor(items[first : first + BATCH])
        image, target = cases.tensors["image"][chosen], cases.tensors["target"][chosen]
        optimizer.zero_grad(set_to_none=True)
        loss = (model.net(image) - target).square().mean()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - start) / STEPS


def ours(model: Small, cases: Cases) -> float:
    budget = fit.Budget(epochs=1, batch=BATCH, precision="float32", channels_last=False, valid_every=0, log_every=STEPS)
    start = time.perf_counter()
    fit.fit(model, cases, budget)
    return (time.perf_counter() - start) / STEPS


def built() -> Small:
    torch.manual_seed(0)
    return Small()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fit.json")
    chosen = parser.parse_args()
    cases, times = data(), {"bare": [], "fit": []}
    for repeat in range(chosen.repeats + 1):
        models = {"bare": built(), "fit": built()}
        for name in ("bare", "fit") if repeat % 2 else ("fit", "bare"):  # taking turns, so that drift hits both
            seconds = (bare if name == "bare" else ours)(models[name], cases)
            if repeat:  # the first warms up
                times[name].append(seconds * 1e3)
        for one, two in zip(models["bare"].parameters(), models["fit"].parameters(), strict=True):
            torch.testing.assert_close(one, two)
    ratios = sorted(a / b for a, b in zip(times["fit"], times["bare"], strict=True))
    record = {
        name: {"median_ms": statistics.median(v), "min_ms": min(v), "max_ms": max(v)} for name, v in times.items()
    }
    record["ratio"] = {"median": statistics.median(ratios), "min": ratios[0], "max": ratios[-1]}
    record["threads"] = torch.get_num_threads()
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
