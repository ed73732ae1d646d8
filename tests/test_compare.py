"""Paired comparisons against numbers made by hand, against SciPy and against what an interval promises."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from workbench import compare, metrics, runs
from workbench.compare import Claim
from workbench.errors import InvalidParameter


def long(values: dict[str, list[list[float]]], metric: str = "psnr", groups: list[str] | None = None) -> pd.DataFrame:
    """A table of scores from {arm: [a row a seed [a value a case]]}; every case is a group unless told otherwise."""
    rows = []
    for arm, seeds in values.items():
        for seed, cases in enumerate(seeds):
            for number, value in enumerate(cases):
                group = groups[number] if groups else f"g{number}"
                entry = {"arm": arm, "seed": seed, "group": group, "case": f"c{number}", metric: value}
                rows.append(entry | {"background": ("black", "white")[number % 2]})
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- differences


def test_differences_by_hand():
    scores = long({"a": [[10, 12, 15], [11, 13, 16]], "b": [[9, 9, 9], [9, 9, 9]]})
    found = compare.paired(scores, "a", "b", "psnr")
    assert found.mean == pytest.approx((1 + 3 + 6 + 2 + 4 + 7) / 6)
    assert (found.groups, found.seeds) == (3, 2)
    assert found.low < found.mean < found.high
    back = compare.paired(scores, "b", "a", "psnr")
    assert (back.mean, back.p) == (pytest.approx(-found.mean), found.p)


def test_cases_of_one_group_count_as_one():
    scores = long({"a": [[1.0, 3.0, 5.0]], "b": [[0.0, 0.0, 0.0]]}, groups=["x", "x", "y"])
    found = compare.paired(scores, "a", "b", "psnr")
    assert found.groups == 2
    assert found.mean == pytest.approx((2 + 5) / 2), "the mean of the groups' means, not of the cases"
    one = compare.paired(long({"a": [[2.0, 5.0]], "b": [[0.0, 0.0]]}, groups=["x", "y"]), "a", "b", "psnr")
    assert (one.low, one.high, one.p) == (found.low, found.high, found.p)


def test_showing_slices_twice_does_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    once = rng.normal(1, 2, (2, 12))
    twice = np.repeat(once, 2, axis=1)
    names = [f"g{number // 2}" for number in range(24)]
    single = compare.paired(long({"a": once.tolist(), "b": (0 * once).tolist()}), "a", "b", "psnr")
    double = compare.paired(long({"a": twice.tolist(), "b": (0 * twice).tolist()}, groups=names), "a", "b", "psnr")
    assert double.groups == 12
    assert (double.mean, double.p) == (pytest.approx(single.mean), pytest.approx(single.p))
    assert double.high - double.low == pytest.approx(single.high - single.low, rel=0.1)


def test_pairs_that_lack_a_side_are_dropped():
    scores = long({"a": [[10, 12, 15], [11, 13, 16]], "b": [[9, 9, np.nan], [9, 9, 9]]})
    scores = scores[~((scores["arm"] == "a") & (scores["seed"] == 1) & (scores["case"] == "c0"))]
    found = compare.paired(scores, "a", "b", "psnr")
    assert found.mean == pytest.approx(np.mean([1, (3 + 4) / 2, 7])), "per group over the seeds that it has"
    assert (found.groups, found.seeds) == (3, 2)


def test_only_shared_seeds_are_compared():
    scores = long({"a": [[1.0, 2.0], [5.0, 6.0]], "b": [[0.0, 0.0]]})
    assert compare.paired(scores, "a", "b", "psnr").seeds == 1
    assert compare.paired(scores, "a", "b", "psnr").mean == pytest.approx(1.5)


def test_arms_without_anything_in_common_have_no_difference():
    scores = long({"a": [[1.0]], "b": [[np.nan]]})
    for other in ("b", "unknown"):
        found = compare.paired(scores, "a", other, "psnr")
        assert np.isnan([found.mean, found.low, found.high, found.p]).all()
        assert (found.groups, found.seeds) == (0, 0)


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(InvalidParameter, match=r"found 'psrn'; did you mean psnr\?"):
        compare.paired(long({"a": [[1.0]], "b": [[1.0]]}), "a", "b", "psrn")


@pytest.mark.parametrize("shift", [0.0, 0.4, 3.0])
def test_p_is_that_of_scipy_on_the_means_of_groups(shift):
    values = np.random.default_rng(1).normal(shift, 1, (3, 9))
    found = compare.paired(long({"a": values.tolist(), "b": np.zeros((3, 9)).tolist()}), "a", "b", "psnr")
    assert found.p == stats.wilcoxon(values.mean(0)).pvalue


@pytest.mark.parametrize("values", [[[1.0]], [[0.0, 0.0, 0.0]]], ids=["one group", "no difference"])
def test_p_is_undefined_for_one_group_and_for_equal_arms(values):
    found = compare.paired(long({"a": values, "b": np.zeros_like(values).tolist()}), "a", "b", "psnr")
    assert np.isnan(found.p) and found.mean == values[0][0]


# ---------------------------------------------------------------- the interval


def draw(rng: np.random.Generator, seeds: int, groups: int, between: float) -> np.ndarray:
    """Differences (seeds, groups) around 1 whose seeds differ by `between`, groups by 1, single values by 1."""
    return (
        1 + between * rng.standard_normal((seeds, 1)) + rng.standard_normal((1, groups))
        + rng.standard_normal((seeds, groups))
    )  # fmt: skip


@pytest.mark.parametrize(("seeds", "between"), [(5, 0.0), (5, 0.3), (5, 3.0), (12, 0.5)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(seeds, between):
    rng = np.random.default_rng(0)
    found = [compare.interval(draw(rng, seeds, 24, between)) for _ in range(500)]
    assert 0.92 <= np.mean([low <= 1 <= high for low, high in found]) <= 0.98


def test_an_interval_over_cases_alone_would_miss_it():
    """What the two-way interval is for: as if there were one seed, the same data would be covered far too rarely."""
    rng = np.random.default_rng(0)
    found = [compare.interval(draw(rng, 4, 40, 1.5).mean(0, keepdims=True)) for _ in range(150)]
    assert np.mean([low <= 1 <= high for low, high in found]) < 0.6


def test_one_seed_gives_students_interval_over_groups():
    values = np.random.default_rng(2).normal(0, 1, (1, 12))
    expected = stats.ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert compare.interval(values) == pytest.approx((expected.low, expected.high))


def test_without_variance_between_groups_it_is_students_interval_over_seeds():
    means = np.random.default_rng(2).normal(0, 1, 5)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert compare.interval(np.repeat(means[:, None], 8, axis=1)) == pytest.approx((expected.low, expected.high))


def test_the_interval_widens_with_the_variance_of_seeds_and_of_groups():
    rng = np.random.default_rng(0)
    noise, seeds, groups = rng.standard_normal((5, 30)), rng.standard_normal((5, 1)), rng.standard_normal((1, 30))

    def width(values: np.ndarray) -> float:
        low, high = compare.interval(values)
        return high - low

    assert width(noise) < width(noise + 2 * seeds) < width(noise + 8 * seeds)
    assert width(noise) < width(noise + 2 * groups) < width(noise + 8 * groups)


def test_the_interval_of_equal_values_is_a_point_and_always_the_same():
    assert compare.interval(np.full((3, 4), 2.5)) == (2.5, 2.5)
    values = np.random.default_rng(0).standard_normal((3, 4))
    assert compare.interval(values) == compare.interval(values.copy())


def test_the_interval_leaves_out_what_is_missing():
    values = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert compare.interval(values) == (1.0, 1.0)


# ---------------------------------------------------------------- claims


def verdict(claim: Claim, values: dict[str, list[list[float]]]) -> str:
    return claim.judge(long(values, claim.metric), "a")["verdict"]


HIGH, LOW, SPREAD = [[5.0, 6.0, 7.0]] * 2, [[1.0, 2.0, 3.0]] * 2, [[-1.0, 5.0, 6.0]] * 2


@pytest.mark.parametrize(
    ("metric", "first", "second", "margin", "expected"),
    [
        ("psnr", HIGH, LOW, 0.0, "holds"),
        ("psnr", LOW, HIGH, 0.0, "does not hold"),
        ("psnr", SPREAD, LOW, 0.0, "undecided"),
        ("psnr", HIGH, HIGH, 0.0, "undecided"),
        ("psnr", HIGH, LOW, 3.9, "holds"),
        ("psnr", HIGH, LOW, 4.1, "does not hold"),
        ("psnr", HIGH, LOW, 4.0, "undecided"),
        ("psnr", LOW, HIGH, -4.1, "holds"),
        ("psnr", LOW, HIGH, -3.9, "does not hold"),
        ("mae", LOW, HIGH, 0.0, "holds"),
        ("mae", HIGH, LOW, 0.0, "does not hold"),
        ("mae", LOW, HIGH, 3.9, "holds"),
        ("mae", LOW, HIGH, 4.1, "does not hold"),
        ("mae", HIGH, LOW, -4.1, "holds"),
        ("mae", HIGH, LOW, -3.9, "does not hold"),
        ("mae", SPREAD, LOW, 0.0, "undecided"),
    ],
)
def test_verdicts_with_margins_and_tolerances(metric, first, second, margin, expected):
    assert verdict(Claim("claim", metric, "b", margin), {"a": first, "b": second}) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.85, 0.86, 0.87], "holds"), ([0.5, 0.51, 0.52], "does not hold"), ([0.7, 0.85, 0.9], "undecided")],
)
def test_verdicts_on_the_metric_itself(values, expected):
    assert verdict(Claim("IoU above 0.8", "iou", None, 0.8), {"a": [values] * 3, "b": [[0.0, 1.0, 0.5]]}) == expected


def test_an_absolute_claim_leaves_the_scores_as_they_were():
    scores = long({"a": [[0.9, 0.95]]}, "iou")
    before = scores.copy()
    told = Claim("IoU above 0.8", "iou", None, 0.8).judge(scores, "a")
    assert told["difference"] == pytest.approx(0.925)
    pd.testing.assert_frame_equal(scores, before)


@pytest.mark.parametrize("other", ["missing", None])
def test_what_cannot_be_compared_is_undecided(other):
    values = {"a": [[np.nan, np.nan]] if other is None else [[1.0, 2.0]]}
    assert verdict(Claim("claim", "iou", other), values) == "undecided"


def test_a_claim_may_be_about_another_arm():
    values = {"a": [[0.0, 0.1]] * 3, "b": [[0.8, 0.9]] * 3, "c": [[0.5, 0.6]] * 3}
    assert verdict(Claim("b beats c", "iou", "c", arm="b"), values) == "holds"
    assert verdict(Claim("a beats c", "iou", "c"), values) == "does not hold"


@pytest.mark.parametrize(("first", "second", "expected"), [(1, 3, "holds"), (3, 1, "does not hold")])
def test_a_claim_may_be_about_the_spread_over_cases(first, second, expected):
    """The narrower arm has the smaller spread, wherever its mean is."""
    offsets = np.linspace(-1, 1, 40)
    noise = np.random.default_rng(0).normal(scale=0.01, size=(2, 5, 40))
    values = {
        name: (mean + width * offsets + noise[number]).tolist()
        for number, (name, mean, width) in enumerate([("ours", 50, first), ("rival", 10, second)])
    }
    scores = long(values, "dice")
    verdict = Claim("spreads less", "dice", "rival", spread=True).judge(scores, "ours")
    assert (verdict["verdict"], verdict["metric"]) == (expected, "spread of dice")
    assert verdict["difference"] == pytest.approx((first - second) * np.abs(offsets).mean(), abs=0.02)


def test_a_verdict_tells_everything():
    claim = Claim("beats b", "mae", "b", 0.5, "reported")
    told = claim.judge(long({"a": LOW, "b": HIGH}, "mae"), "a")
    low, high = told.pop("interval")
    assert low <= -4 <= high
    assert told.pop("p") == stats.wilcoxon([-4, -4, -4]).pvalue
    assert told == {
        "claim": "beats b", "kind": "reported", "metric": "mae", "margin": 0.5, "verdict": "holds", "difference": -4.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "metric",
    [
        "mae",
        "mse",
        "fg_mae",
        "leakage",
        "ciede2000",
        "hd95",
        "hd95_cup",
        "centroid_disc",
        "cdr",
        "epe",
        "cycle",
        "folds",
    ],
)
def test_lower_is_better(metric):
    assert compare.better(metric) == -1


@pytest.mark.parametrize("metric", ["psnr", "ssim", "fg_psnr", "fg_ssim", "iou", "dice", "dice_cup", "tpf"])
def test_higher_is_better(metric):
    assert compare.better(metric) == 1


def test_the_direction_of_every_metric_is_that_of_a_better_picture():
    target = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    foreground = torch.zeros(4, 1, 16, 16)
    foreground[..., 2:10, 2:10] = 1
    batch = {"target": target * foreground, "foreground": foreground}
    noise = 0.1 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    good = {"color": batch["target"] + 0.1 * noise, "mask": foreground}
    bad = {"color": batch["target"] + noise, "mask": 1 - foreground}
    best, worst = (metrics.colorization(batch, prediction) for prediction in (good, bad))
    for name in best:
        assert ((best[name] - worst[name]) * compare.better(name) > 0).all(), name


# ---------------------------------------------------------------- tables


def test_cells_of_one_and_of_many_seeds():
    layout = [("average", "psnr"), ("black", "psnr"), ("white", "psnr"), ("grey", "psnr"), ("average", "ssim")]
    one = compare.table(long({"a": [[20.0, 22.0]]}), layout)
    assert list(one.columns) == layout[:3] and one.loc["a"].tolist() == ["21.00", "20.00", "22.00"]
    two = compare.table(long({"a": [[20.0, 22.0], [22.0, 24.0]], "b": [[1.0, 1.0], [1.0, 1.0]]}), layout[:1])
    assert two[layout[0]].tolist() == [f"22.00 ± {np.sqrt(2):.2f}", "1.00 ± 0.00"]


def test_cells_of_small_values_have_three_digits():
    found = compare.table(long({"a": [[0.12, 0.127]]}, "mae"), [("average", "mae")])
    assert found["average", "mae"].tolist() == [f"{0.1235:.3f}"]


def test_cells_without_a_value_are_dashes_and_one_seed_has_no_spread():
    scores = long({"a": [[0.5, 0.5], [0.7, 0.7]], "b": [[np.nan, np.nan]] * 2, "c": [[0.1, 0.1]]}, "iou")
    assert compare.table(scores, [("average", "iou")])["average", "iou"].tolist() == ["0.600 ± 0.141", "-", "0.100"]


def test_rows_keep_the_order_of_the_arms():
    scores = long({"z": [[1.0]], "a": [[1.0]], "m": [[1.0]]})
    assert compare.table(scores, [("average", "psnr")]).index.tolist() == ["z", "a", "m"]


def test_metrics_are_the_numbers_that_name_nothing():
    scores = long({"a": [[1.0]]}).assign(ssim=0.5, run="gan/0", label=3, note="x")
    assert compare.metrics(scores) == ["psnr", "ssim"]


def test_runs_are_gathered_under_their_arms(tmp_path):
    found = []
    for seed in (0, 1):
        run = runs.create(tmp_path, {"method": "gan", "seed": seed}, arm="rival")
        table = pd.DataFrame({"case": ["c0"], "group": ["g0"], "mae": [float(seed)]})
        runs.save(run.path / "scores.parquet", table.to_parquet)
        found.append(run)
    scores = compare.gather(found)
    assert scores[["arm", "seed", "mae"]].to_numpy().tolist() == [["rival", 0, 0.0], ["rival", 1, 1.0]]
    assert scores["run"].tolist() == [f"gan/{run.id}" for run in found]
    assert compare.gather([]).empty


def test_runs_are_alike_that_were_tested_on_the_same_cases_or_on_folds_of_them(tmp_path):
    def made(arm, seed, fingerprint, **data):
        return runs.create(
            tmp_path, {"method": arm, "seed": seed, "data": {"fingerprint": fingerprint, **data}}, arm=arm
        )

    folds = [made(arm, seed, f"f{seed}", kind="neuron", fold=seed) for arm in "ab" for seed in (0, 1)]
    small = [made("a", seed, "s", kind="neuron", fold=0, size=3) for seed in (2, 3, 4)]
    files = [made(arm, 5, print_, kind="neuron", root="images") for arm, print_ in (("a", "before"), ("b", "after"))]
    assert compare.alike([*files, *small, *folds]) == [folds, small, files[:1], files[1:]]
    assert compare.alike([]) == []


def test_scores_and_labels_of_single_findings_are_no_metrics():
    table = pd.DataFrame({"score_nodule": [0.3], "label_nodule": [1.0], "auc_nodule": [1.0], "scored": [0.0]})
    assert compare.metrics(table) == ["auc_nodule", "scored"]
