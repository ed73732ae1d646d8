"""What is tuned, alike for CCL-Net and its rivals, at the tiny budget: the rate, and the weights that an arm has.

Every setting is trained on the phantom's training images with two seeds that no reported comparison uses, and judged on
validation phantoms by macro F1; negative log likelihood and calibration error stand beside it. First the rate is
chosen for every arm, then one setting after the other is changed alone. No test image is looked at.

    python benchmarks/tuning_lesions.py [--jobs 2] [--epochs 30] [--arms cclnet lsr]
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SEEDS = (101, 102)
VALID = 600  # validation phantoms: more than a run looks at, to part settings that differ by little
RATES = {"lr": (1e-3, 3e-3, 1e-2)}
GRID: dict[str, dict[str, tuple[float, ...]]] = {  # beside the defaults, one setting changed at a time
    "hardlabels": RATES,
    "lsr": RATES | {"epsilon": (0.05, 0.2)},
    "cclnet": RATES
    | {
        "dml_weight": (0.1, 0.3), "kl_weight": (0.3, 3.0), "mix": (0.1, 0.4), "tau": (0.15, 0.4),
        "cc_weight": (0.01, 1.0),
    },
}  # fmt: skip
METRICS = ("f1", "nll", "ece", "spearman", "r_gap", "spread")


def trial(job: tuple[str, dict[str, Any], int, int]) -> dict[str, float]:
    """Validation scores of one arm with one setting and seed."""
    import torch

    from workbench import fit, method
    from workbench.data import lesion

    name, change, seed, epochs = job
    torch.set_num_threads(1)
    torch.manual_seed(method.seed_of(seed))
    source, cls = lesion.phantom(lesion.Options(valid=VALID)), method.method_class(name)
    model = cls(cls.Config(**{k: v for k, v in source.spec.items() if hasattr(cls.Config, k)} | change))
    budget = fit.Budget(epochs=epochs, batch=32, schedule="cosine", valid_every=0)
    fit.fit(model, source.train, budget, seed=seed)
    found = fit.gathered(model, [score for _, _, score in fit.evaluate(model, source.valid, 64)])
    return {key: round(float(found[key].nanmean()), 4) for key in METRICS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--arms", nargs="+", default=list(GRID), choices=list(GRID))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tuning_lesions.json")
    chosen = parser.parse_args()
    changes = [(name, {key: value}) for name in chosen.arms for key, values in GRID[name].items() for value in values]
    jobs = [(*change, seed, chosen.epochs) for change in changes for seed in SEEDS]
    trials = []
    with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
        for (name, change, seed, epochs), scores in zip(jobs, pool.map(trial, jobs)):
            trials.append({"arm": name, **change, "seed": seed, "epochs": epochs, **scores})
            print(trials[-1], flush=True)
    record = {"metric": f"on {VALID} validation phantoms", "seeds": SEEDS, "trials": trials}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
