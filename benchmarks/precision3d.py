"""One training step of VoxelMorph and LT-Net on volumes, in float32 and bf16, batch 1 and 2, and channels last or not.

All ways are timed in turns on the same volumes. Equality is checked where it can hold: the first losses of bf16 agree
with those of float32 to 2 %, the layouts to 0.1 %. With one item and few channels the CPU's convolutions take a slow
path, so two items can take less time than one.

    python benchmarks/precision3d.py [--repeats 7] [--threads 1]
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import torch

from workbench import fit, method
from workbench.data import anatomy3d
from workbench.models.registration import FlowNet

WAYS = list(itertools.product(("voxelmorph", "ltnet"), (1, 2), ("float32", "bf16"), (False, True)))


def forward_as_given(self: FlowNet, moving: torch.Tensor, fixed: torch.Tensor, encoder: object = None) -> torch.Tensor:
    """What FlowNet does, in the layout of its input."""
    return self.decoder((encoder or self.encoder)(torch.cat([moving, fixed], 1)))


def prepared(name: str, spec: dict) -> tuple:
    cls = method.method_class(name)
    torch.manual_seed(0)
    model = cls(cls.Config(dims=3, classes=spec["classes"]))
    return model, model.optimizers()


def stepped(model: method.Method, optimizers: dict, batch: dict, seed: int, bf16: bool, last: bool) -> tuple:
    """Milliseconds and loss of one step."""
    forward = FlowNet.forward
    FlowNet.forward = forward if last else forward_as_given
    try:
        start = time.perf_counter()
        logs = fit.step(model, optimizers, [batch], seed, fit.Budget(), bf16=bf16)
        return (time.perf_counter() - start) * 1e3, float(logs["loss/generator"])
    finally:
        FlowNet.forward = forward


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "precision3d.json")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    source = anatomy3d.phantom(anatomy3d.Options(dims=3, size=chosen.size, train=2, valid=1, test=1))
    sides = {way: prepared(way[0], source.spec) for way in WAYS}
    batches = {count: source.train.__getitems__(range(count)) for count in (1, 2)}
    times, losses = {way: [] for way in WAYS}, {}
    for repeat, way in itertools.product(range(chosen.repeats + 1), WAYS):
        _, count, precision, last = way
        taken, loss = stepped(*sides[way], batches[count], repeat, precision == "bf16", last)
        losses.setdefault(way, loss)
        times[way] += [taken] if repeat else []
    for (name, count, precision, _), loss in losses.items():
        reference = losses[name, count, "float32", False]
        assert abs(loss / reference - 1) < (0.02 if precision == "bf16" else 0.001), losses
    record: dict = {
        f"{name}, batch {count}, {precision}{', channels_last' if last else ''}": {
            "median_ms": round(statistics.median(v), 1), "min_ms": round(min(v), 1), "max_ms": round(max(v), 1),
            "first_loss": round(losses[name, count, precision, last], 4),
        }
        for (name, count, precision, last), v in times.items()
    }  # fmt: skip
    record |= {"size": chosen.size, "threads": torch.get_num_threads()}
    record["hardware_bf16"] = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
