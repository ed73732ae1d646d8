"""A training step at paper scale on a GPU: images a second, peak memory, eager against compiled.

Of every colorization arm, of TC-MGAN and of VideoGAN, in the epochs in which all of the GAN learns. `graphs` counts
what torch.compile made: with none the compiled row is eager as well. What the same device gave for other arms is kept.
With --dry every arm takes a step and predicts at the tiny preset on whatever device there is, the shape of what it
makes is checked, and nothing is written.

    python benchmarks/paper_scale.py [--steps 20] [--arms tcmgan videogan] [--dry]
"""

import argparse
import dataclasses
import json
import statistics
import time
from pathlib import Path

import torch
from torch._dynamo.utils import counters

from workbench import data, fit, method
from workbench import device as devices
from workbench.study import settings

ARMS = ("smcgan", *method.module("smcgan").RIVALS, "tcmgan", "videogan")
IMAGES = {"videogan": 4}  # that an item brings to a step, two frames of each centre; elsewhere one
WARM = 5  # steps before the timed ones, in which kernels are chosen and compiled


def prepared(name: str, preset: str, compiled: bool, device: torch.device) -> tuple[fit.Loop, method.Batch]:
    """The loop of an arm, where its GAN learns, and one batch of phantoms on the device."""
    cls = method.method_class(name)
    chosen, budget, options = settings(name, method.preset(name, preset))
    budget = fit.Budget(**budget | {"compile": compiled, "device": str(device)})
    options = {key: options[key] for key in ("size", "frames") if key in options}
    source = data.open_data(cls.data, **options, train=budget.batch, valid=1, test=1)
    known = {field.name for field in dataclasses.fields(cls.Config)}
    model = cls(cls.Config(**{k: v for k, v in source.spec.items() if k in known} | chosen))
    model.epoch = 1 + max(getattr(model.config, stage, 0) for stage in ("pretrain", "judge_epochs"))
    loop = fit.Loop(model, source.train, budget, 0, None)
    return loop, fit.move(source.train.__getitems__(range(budget.batch)), device, budget.channels_last)


def measure(name: str, preset: str, compiled: bool, steps: int, device: torch.device) -> dict:
    """Images a second (median and extremes over the steps) and the peak memory in GiB of one arm."""
    counters.clear()
    loop, batch = prepared(name, preset, compiled, device)
    seconds = []
    for repeat in range(WARM + steps):
        start = time.perf_counter()
        fit.step(loop.method, loop.optimizers, [batch], repeat, loop.budget, loop.bf16)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    images = loop.budget.batch * IMAGES.get(name, 1)
    rates = [images / s for s in seconds[WARM:]]
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return {
        "images_per_s": round(statistics.median(rates), 1), "lowest": round(min(rates), 1),
        "highest": round(max(rates), 1), "peak_gib": memory and round(memory, 2), "batch": loop.budget.batch,
        "size": batch["image"].shape[-1], "graphs": counters["stats"]["unique_graphs"],
    }  # fmt: skip


def check(name: str, device: torch.device) -> None:
    """That an arm at the tiny preset takes a step and then makes pictures as large as what it is given."""
    loop, batch = prepared(name, "tiny", False, device)
    logs = fit.step(loop.method, loop.optimizers, [batch], 0, loop.budget, loop.bf16)
    with torch.inference_mode():
        color, image = loop.method.eval().predict(batch)["color"], batch["image"]
    learnt = {key for key in logs if key.startswith("loss/")}
    if not learnt or color.shape != (len(image), 3, *image.shape[2:]):
        raise SystemExit(f"{name}: {tuple(color.shape)} of {tuple(image.shape)} after {sorted(learnt)}")
    print(name, tuple(color.shape), *sorted(learnt), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--dry", action="store_true", help="check shapes at the tiny preset, measure nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "paper_scale.json")
    chosen = parser.parse_args()
    device = devices.find_device()
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    record = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {}
    record = record if record.get("device") == kind else {"device": kind, "arms": {}}
    for name in chosen.arms:
        if chosen.dry:
            check(name, device)
            continue
        for compiled in (False, True) if device.type == "cuda" else (False,):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            way = "compiled" if compiled else "eager"
            record["arms"].setdefault(name, {})[way] = measure(name, chosen.preset, compiled, chosen.steps, device)
            print(name, way, record["arms"][name][way], flush=True)
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
