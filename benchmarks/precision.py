"""One training step of SMCGAN in float32 and bf16, contiguous and channels_last, and what each does to the result.

The four are timed in turns on the same batch. Equality is checked where it can hold: the first losses of bf16 agree
with those of float32 to 2 %, the layouts to 0.1 %.

    python benchmarks/precision.py [--repeats 15]
"""

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path

import torch

from workbench import fit
from workbench.data import anatomy
from workbench.methods.smcgan import SMCGAN, Config

WAYS = list(itertools.product(("float32", "bf16"), (False, True)))


def prepared(channels_last: bool, batch: dict) -> tuple:
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = SMCGAN(Config()).to(memory_format=layout)
    return model, model.optimizers(), fit.move(batch, torch.device("cpu"), channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "precision.json")
    chosen = parser.parse_args()
    batch = anatomy.phantom(anatomy.Options(train=8, test=1, valid=1)).train.__getitems__(range(8))
    sides = {way: prepared(way[1], batch) for way in WAYS}
    times, losses = {way: [] for way in WAYS}, {}
    for repeat in range(chosen.repeats + 2):
        for way, (model, optimizers, given) in sides.items():
            start = time.perf_counter()
            logs = fit.step(model, optimizers, [given], repeat, fit.Budget(batch=8), bf16=way[0] == "bf16")
            if repeat == 0:
                losses[way] = float(logs["loss/generator"])
            elif repeat > 1:
                times[way].append((time.perf_counter() - start) * 1e3)
    reference = losses["float32", False]
    for (precision, _), loss in losses.items():
        assert abs(loss / reference - 1) < (0.02 if precision == "bf16" else 0.001), losses
    record = {
        f"{precision}{', channels_last' if last else ''}": {
            "median_ms": round(statistics.median(v), 2), "min_ms": round(min(v), 2), "max_ms": round(max(v), 2),
            "first_loss": round(losses[precision, last], 4),
        }
        for (precision, last), v in times.items()
    }  # fmt: skip
    record["threads"] = torch.get_num_threads()
    record["hardware_bf16"] = bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
