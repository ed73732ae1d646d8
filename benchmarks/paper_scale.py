"""The step of every colorization arm at paper scale on a GPU: images a second, peak memory, eager against compiled.

python benchmarks/paper_scale.py [--steps 20] [--preset paper]
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

import torch

from workbench import device as devices
from workbench import fit, method
from workbench.data import anatomy
from workbench.study import settings


def measure(name: str, preset: str, compiled: bool, steps: int, device: torch.device) -> dict:
    """Images a second (median and extremes over the steps) and the peak memory in GiB of one arm."""
    chosen, budget, options = settings(name, method.preset(name, preset))
    budget = fit.Budget(**budget | {"compile": compiled, "device": str(device)})
    source = anatomy.phantom(anatomy.Options(size=options.get("size", 64), train=budget.batch, test=1, valid=1))
    cls = method.method_class(name)
    known = {field.name for field in dataclasses.fields(cls.Config)}
    spec = {k: v for k, v in source.spec.items() if k in known}
    loop = fit.Loop(cls(cls.Config(**spec | chosen)), source.train, budget, 0, None)
    batch = [fit.move(source.train.__getitems__(range(budget.batch)), device, budget.channels_last)]
    seconds = []
    for repeat in range(steps + 5):  # the first ones warm up and compile
        start = time.perf_counter()
        fit.step(loop.method, loop.optimizers, batch, repeat, budget, loop.bf16)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    rates = [budget.batch / s for s in seconds[5:]]
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return {
        "images_per_s": round(statistics.median(rates), 1), "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1),
        "peak_gib": memory and round(memory, 2), "batch": budget.batch, "size": options.get("size", 64),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "paper_scale.json")
    chosen = parser.parse_args()
    device = devices.find_device()
    record = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type, "arms": {}}
    for name in ("smcgan", *method.module("smcgan").RIVALS):
        for compiled in (False, True) if device.type == "cuda" else (False,):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            way = "compiled" if compiled else "eager"
            record["arms"].setdefault(name, {})[way] = measure(name, chosen.preset, compiled, chosen.steps, device)
            print(name, way, record["arms"][name][way], flush=True)
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
