"""What is asked of runs before anything is drawn: labels, which can be shown, shared cases, settings that differ.

`colors`, `masks` and `curves` hold the pictures themselves: plain HoloViews elements, which a notebook shows and
`hv.save` writes to one HTML file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workbench import compare
from workbench.errors import InvalidRun

if TYPE_CHECKING:
    import pandas as pd

    from workbench.runs import Run

    Axes = int | tuple[int, ...]

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
REMEDY = "run it again, or delete the folder"
NAMED = 2  # settings that the name of an arm has room for
PICTURES = ("image", "target", "color")  # the arrays that may have a last axis of three colours
UNITS = {
    "psnr": "dB", "fg_psnr": "dB", "ciede2000": "ΔE00", "hd95": "mm", "hausdorff": "mm", "centroid": "mm",
    "epe": "voxels", "cycle": "voxels", "ed": "px",
}  # fmt: skip
NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "mae": "MAE",
    "mse": "MSE",
    "iou": "IoU",
    "ciede2000": "CIEDE2000",
    "leakage": "Leakage",
    "dice": "Dice",
    "hd95": "HD95",
    "centroid": "Centroid distance",
    "tpf": "True positive fraction",
    "hausdorff": "Hausdorff distance",
    "cdr": "Cup/disc ratio error",
    "epe": "Endpoint error",
    "cycle": "Cycle error",
    "folds": "Folds",
    "overlap_distance": "Overlap distance",
    "selected_clean": "Selected clean",
    "ed": "Euclidean distance",
    "auc": "AUC",
    "ece": "ECE",
    "nll": "NLL",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "ap": "AP",
    "auroc": "AUROC",
    "detected": "Errors detected",
    "false_alerts": "False alerts",
    "false_alerts_gold": "False alerts on the gold control",
    "false_runs": "False runs of alerts per 100 nodes",
    "gold_margin": "Gold control margin",
    "wasserstein": "Wasserstein distance",
    "flicker": "Flicker",
    "motion": "Motion error",
    "content": "Edge correlation",
    "cnr": "CNR",
    "cnr_error": "CNR error",
    "false_area": "False area",
}
SHORT = {
    "Foreground": "fg",
    "CIEDE2000": "ΔE00",
    "Centroid distance": "Centroid",
    "True positive fraction": "TPF",
    "Hausdorff distance": "Hausdorff",
    "Cup/disc ratio error": "CDR error",
    "Euclidean distance": "Distance",
    "Wasserstein distance": "Wasserstein",
}


def label(run: "Run") -> str:
    """How a run is called in a list: arm · seed · first digits of its id."""
    return f"{run.arm} · seed {run.seed} · {run.id[:6]}"


def title(metric: str) -> str:
    """The name of a metric as papers print it; of one class, its name behind.

    >>> title("fg_psnr"), title("dice"), title("hd95_cup"), title("false_area_p1")
    ('Foreground PSNR', 'Dice', 'HD95 cup', 'False area p1')
    """
    plain = metric.removeprefix("fg_")
    ways = (plain.partition("_"), plain.rpartition("_"))
    name = NAMES.get(plain) or next((f"{NAMES[kind]} {part}" for kind, _, part in ways if kind in NAMES), plain)
    return ("Foreground " if plain != metric else "") + name


def short(metric: str) -> str:
    """The name of a metric where there is little room.

    >>> short("fg_psnr")
    'fg PSNR'
    """
    name = title(metric)
    for long, brief in SHORT.items():
        name = name.replace(long, brief)
    return name


def unit(metric: str, length: str = "mm") -> str:
    """The unit of a metric, of all classes or of one; empty where it has none, `length` where it is a distance.

    >>> unit("hd95"), unit("hd95_cup", "px"), unit("dice")
    ('mm', 'px', '')
    """
    found = UNITS.get(metric) or UNITS.get(metric.partition("_")[0], "")
    return length if found == "mm" else found


def length(runs: Iterable["Run"]) -> str:
    """The unit of distances in these runs: px where none of them knows the size of a pixel, µm or mm."""
    units = [run.samples.index.get("unit", "mm") for run in runs]
    return next((unit for unit in ("px", "µm") if set(map(str, units)) == {unit}), "mm")


def palette(arms: Iterable[str]) -> dict[str, str]:
    """A colour an arm, told apart by colour-blind readers too; the order of the arms decides, whatever is shown."""
    return {arm: OKABE_ITO[i % len(OKABE_ITO)] for i, arm in enumerate(dict.fromkeys(arms))}


@dataclass(frozen=True)
class Survey:
    """Runs that a view can show, and why the others cannot; runs that wrote other kinds of samples are in neither."""

    runs: list["Run"]
    aside: list[tuple["Run", str]]


def survey(
    runs: Iterable["Run"], needs: Mapping[str, "Axes"], also: Callable[["Run"], None] | None = None,
    kind: Callable[["Run"], bool] | None = None,
) -> Survey:  # fmt: skip
    """Sorts runs into usable and set aside.

    Args:
        needs: the arrays a view reads, each with its number of axes or those it may have, the case first:
            {"image": 3, "color": 4}.
        also: what else is asked of a run that has them; it raises InvalidRun.
        kind: whether what has arrays of these names is what the view shows; the others wrote another kind of samples.
    """
    usable, aside = [], []
    for run in runs:
        try:
            if run.state == "unfinished":
                aside.append((run, "unfinished: run it again to resume it"))
            elif run.state != "done":
                aside.append((run, run.state))
            elif set(needs) <= set(written(run)) and (kind is None or kind(run)):
                check(run, needs)
                if also:
                    also(run)
                usable.append(run)
        except InvalidRun as error:
            aside.append((run, f"broken: {error}"))
    return Survey(usable, aside)


def written(run: "Run") -> list[str]:
    """The names of the arrays a run wrote, its index being found sound.

    Raises:
        InvalidRun: the index is not what a run writes.
    """
    path, cases, keys = run.samples.path / "index.json", run.samples.cases, run.samples.keys
    if not (isinstance(cases, list) and cases and all(isinstance(c, dict) and "case" in c for c in cases)):
        raise InvalidRun(path, "a list of cases, each with an id", "other content", REMEDY)
    if not (isinstance(keys, list) and all(isinstance(name, str) for name in keys)):
        raise InvalidRun(path, "the names of the arrays", "other content", REMEDY)
    return keys


def moving(run: "Run") -> bool:
    """Whether the samples are videos: pictures with an axis of time before height and width."""
    return run.samples.array("image").ndim == 5


def check(run: "Run", needs: Mapping[str, "Axes"]) -> None:
    """Raises InvalidRun where arm and seed, the table of scores or an array a view needs cannot be what they should.

    All arrays must have the size of the label maps, or of the grey pictures where there are none: (H, W), or a volume's
    (X, Y, Z). A picture may add an axis of three colours; where it need not, a volume of the same size is a volume.
    Arrays of one or two axes are no pictures but numbers, whose shape the view itself checks.
    """
    if not isinstance(run.arm, str) or not isinstance(run.seed, int):
        raise InvalidRun(run.path / "config.json", "an arm and a whole seed", f"{run.arm!r}, {run.seed!r}", REMEDY)
    scores(run)
    sizes = {}
    for name, axes in needs.items():
        array, allowed = run.samples.array(name), axes if isinstance(axes, tuple) else (axes,)
        kinds = ("uint8",) if max(allowed) > 2 else ("float32", "float16")
        if array.ndim not in allowed or array.dtype not in kinds:
            expected = f"{' or '.join(map(str, allowed))} axes of {kinds[0]}"
            raise InvalidRun(run.samples.path / f"{name}.npy", expected, f"{array.shape} of {array.dtype}", REMEDY)
        if array.dtype == "uint8":
            sizes[name] = array.shape[1:]
    plain = min(sizes.values(), key=len, default=())
    fits = {plain: sizes, (*plain, 3): PICTURES}
    if not all(name in fits.get(size, ()) for name, size in sizes.items()):
        raise InvalidRun(run.samples.path, "arrays of one size", str(sizes), REMEDY)


def key(case: Mapping[str, Any]) -> tuple[str, str]:
    """What tells two cases apart: the id, and the background where a slice is shown on several."""
    return str(case["case"]), str(case.get("background") or "")


def shared(runs: Iterable["Run"]) -> list[tuple[str, str]]:
    """The keys of the cases that every run was tested on, in the order of the first."""
    keys = [[key(case) for case in run.samples.cases] for run in runs]
    common = set.intersection(*map(set, keys)) if keys else set()
    return [k for k in dict.fromkeys(keys[0]) if k in common] if keys else []


def scores(run: "Run") -> "pd.DataFrame":
    """The metrics of one run, one row a case, indexed by `key`. Kept in memory until the file changes.

    Raises:
        InvalidRun: the table cannot be read, or has no cases, groups or metrics.
    """
    path = run.path / "scores.parquet"
    stamp = path.stat().st_mtime_ns if path.is_file() else 0
    return _scores(run, stamp)


@lru_cache(maxsize=256)
def _scores(run: "Run", stamp: int) -> "pd.DataFrame":
    import pandas as pd

    table = run.scores()
    if not {"case", "group"} <= set(table.columns) or not compare.metrics(table) or not len(table):
        found = ", ".join(map(str, table.columns)) or "nothing"
        raise InvalidRun(run.path / "scores.parquet", "a row a case with case, group and metrics", found, REMEDY)
    background = table["background"] if "background" in table else pd.Series("", table.index)
    pairs = zip(table["case"].astype(str), background.fillna("").astype(str), strict=True)
    table.index = pd.Index(list(pairs), tupleize_cols=False)
    table = table[compare.metrics(table)]
    return table[~table.index.duplicated()]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names.

    >>> flat({"config": {"lr": 0.1, "loss": {"color": 1}}})
    {'config.lr': 0.1, 'config.loss.color': 1}
    """
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {k: v for name, part in value.items() for k, v in flat(part, f"{prefix}.{name}".lstrip(".")).items()}


def arms(runs: Iterable["Run"]) -> list[str]:
    """How the arm of each run is called: its name, and where runs of one arm and seed differ, what they differ in.

    Where all are of one arm, that is left out before the settings.
    """
    runs, names = list(runs), {}
    every = {run.arm for run in runs}
    for arm in every:
        group = [run for run in runs if run.arm == arm]
        if len({run.seed for run in group}) == len(group):
            names |= dict.fromkeys(group, arm)
        else:
            lead = f"{arm} · " if len(every) > 1 else ""
            names |= {run: lead + words for run, words in zip(group, told_apart(group), strict=True)}
    return [names[run] for run in runs]


def told_apart(group: list["Run"]) -> list[str]:
    """The settings in which runs of one arm differ, or an id for each lot where these are many or look alike."""
    same = ["arm", "seed", "id", "fingerprint", *compare.DEALT]  # or differ from seed to seed
    table = differing(group).drop(columns=same, errors="ignore").astype(object)
    rows = table.to_dict("records")
    exact = [repr(row) if row else run.id for run, row in zip(group, rows, strict=True)]
    if 0 < table.shape[1] <= NAMED:
        texts = [" · ".join(f"{name} {brief(value)}" for name, value in row.items()) for row in rows]
        if len(set(texts)) == len(set(exact)):
            return texts
    ids = {key: run.id[:6] for key, run in zip(exact[::-1], group[::-1], strict=True)}
    return [ids[key] for key in exact]


def brief(value: Any) -> str:
    """A setting in few digits.

    >>> brief(0.0015676677), brief(1e-05), brief(4)
    ('0.001568', '1e-05', '4')
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def differing(runs: Iterable["Run"]) -> "pd.DataFrame":
    """One row a run: arm, seed, id, and of config, budget and data only what differs between the runs that have it."""
    import pandas as pd

    runs, parts = list(runs), ("config", "budget", "data")
    settings = [flat({part: run.config.get(part, {}) for part in parts}) for run in runs]
    found = dict.fromkeys(name for each in settings for name in each)
    names = sorted(found, key=lambda name: parts.index(name.partition(".")[0]))
    differ = [name for name in names if len({repr(each[name]) for each in settings if name in each}) > 1]
    rows = [
        {"arm": run.arm, "seed": run.seed, "id": run.id}
        | {name.partition(".")[2] or name: each.get(name) for name in differ}
        for run, each in zip(runs, settings, strict=True)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "id"] if not rows else None)
