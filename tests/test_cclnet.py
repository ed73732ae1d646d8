"""CCL-Net: the block's formulas against closed forms and slow loops, its controls, and what it learns."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torchmetrics.functional.classification as reference
from conftest import small_data, small_method
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torch.nn import functional as F

from workbench import claims, fit, method, metrics, predict, study
from workbench.baselines import colorforest
from workbench.compare import NOT_METRICS, better
from workbench.data.lesion import CLASSES, SIMILARITY, unseen
from workbench.errors import InvalidParameter
from workbench.fit import Budget
from workbench.methods import cclnet
from workbench.methods.cclnet import apartness, circled, divergence, metric_loss, soft_labels
from workbench.models.classifier import (
    DRAWS,
    correlation,
    cut,
    off_diagonal,
    once,
    pooled,
    scores,
    smoothed,
    structure,
    varied,
)

BOUND = 0.6066  # of the rank correlation with two levels: 4 of 28 entries are higher
seeds = st.integers(0, 2**31)


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def simplex(count):
    """Vectors whose components have mean 0 and whose angles are all alike: R = -1 / (K - 1)."""
    return torch.eye(count) - 1 / count


def batch_of(count=8):
    return small_data("lesion").train.__getitems__(range(count))


def logged(model, epoch):
    model.epoch = epoch
    ((_, loss, logs),) = model.updates(batch_of())
    return loss.detach(), logs


# ---------------------------------------------------------------- correlation


@given(seeds, st.integers(2, 9), st.integers(3, 40))
def test_correlation_is_symmetric_with_unit_diagonal_and_pearsons(seed, count, components):
    vectors = random(seed, count, components)
    found = correlation(vectors)
    assert torch.allclose(found, found.T, atol=1e-6)
    assert torch.allclose(found.diag(), torch.ones(count), atol=1e-6)
    assert found.abs().max() <= 1
    assert np.allclose(found, np.corrcoef(vectors.double().numpy()), atol=1e-5)
    moved = 3 * vectors + torch.arange(count)[:, None]
    assert torch.allclose(correlation(moved), found, atol=1e-4), "scale and offset of a vector do not matter"


@pytest.mark.parametrize("count", [3, 7, 8])
def test_simplex_has_equal_correlations_and_equal_soft_labels(count):
    found = correlation(simplex(count))
    assert torch.allclose(off_diagonal(found), torch.tensor(-1 / (count - 1)), atol=1e-6)
    assert float(apartness(found)) == pytest.approx((1 - 1 / (count - 1)) / 2, abs=1e-6)
    soft = soft_labels(found, tau=0.25, mix=1.0)
    assert torch.allclose(off_diagonal(soft), off_diagonal(soft)[0, 0], atol=1e-6), "label smoothing, uniform"
    assert structure(found, ())["spread"] == pytest.approx(0, abs=1e-6)


def test_temperature_of_one_over_softens():
    found = correlation(simplex(7))
    own = math.exp(1) / (math.exp(1) + 6 * math.exp(-1 / 6))
    assert soft_labels(found, tau=1.0, mix=1.0).diag().tolist() == pytest.approx([own] * 7, abs=1e-5)
    assert own == pytest.approx(0.35, abs=0.01)
    assert soft_labels(found, tau=0.25, mix=1.0).diag().min() > 0.9
    assert soft_labels(found, tau=0.25, mix=0.2).diag().min() > 0.98


# ---------------------------------------------------------------- losses


@given(seeds, st.integers(2, 9), st.floats(0.1, 2), st.floats(0, 1))
def test_rows_of_soft_labels_sum_to_one_and_peak_at_their_class(seed, count, tau, mix):
    soft = soft_labels(correlation(random(seed, count, 16)), tau, mix)
    assert torch.allclose(soft.sum(1), torch.ones(count), atol=1e-5)
    assert soft.argmax(1).tolist() == list(range(count))
    assert soft.min() >= 0


@given(seeds, st.integers(2, 9))
def test_apartness_lies_in_unit_interval_and_is_the_mean_of_a_loop(seed, count):
    found = correlation(random(seed, count, 8))
    slow = [(1 + float(found[k, l])) / 2 for k in range(count) for l in range(count) if k != l]
    assert float(apartness(found)) == pytest.approx(sum(slow) / (count * (count - 1)), abs=1e-5)
    assert 0 <= apartness(found) <= 1


def test_apartness_is_one_for_equal_and_nothing_for_opposite_classes():
    vector = random(0, 1, 8)
    assert float(apartness(correlation(vector.expand(5, 8)))) == pytest.approx(1, abs=1e-6)
    assert float(apartness(correlation(torch.cat([vector, -vector])))) == pytest.approx(0, abs=1e-6)


def test_metric_loss_is_the_formula():
    model = small_method("cclnet")
    feature, label = random(1, 5, model.classifier.backbone.width), torch.tensor([0, 3, 7, 7, 2])
    placed, proxies = model.block.project(feature).detach(), model.block.embeddings.detach()
    slow = 0.0
    for i in range(5):
        powers = [math.exp(-float((placed[i] - e).square().sum())) for e in proxies]
        slow -= math.log(powers[label[i]] / sum(powers)) / 5
    assert float(metric_loss(model.block(feature), label).detach()) == pytest.approx(slow, rel=1e-4)


def test_divergence_is_zero_at_the_target_and_its_cross_entropy_less_entropy():
    target = soft_labels(correlation(random(2, 6, 9)), 0.25, 0.3)
    assert float(divergence(target, target.log())) == pytest.approx(0, abs=1e-6)
    logits = random(3, 6, 6)
    expected = F.cross_entropy(logits, target) + (target * target.log()).sum(1).mean()
    assert float(divergence(target, logits)) == pytest.approx(float(expected), abs=1e-5)


def test_nothing_flows_from_the_soft_labels_into_the_block():
    model = small_method("cclnet", warmup=0)
    batch = batch_of()
    _, logits = model.classifier(batch["image"])
    target = soft_labels(correlation(model.block.embeddings), 0.25, 0.2)
    assert not target.requires_grad
    divergence(target[batch["class"]], logits).backward()
    assert all(p.grad is None for p in model.block.parameters())
    assert all(p.grad is not None for p in model.classifier.parameters())


@given(seeds, st.integers(2, 9), st.integers(3, 40))
def test_geometric_loss_is_the_length_of_the_sum_of_directions(seed, count, components):
    vectors = random(seed, count, components)
    directions = F.normalize(vectors - vectors.mean(1, keepdim=True), dim=1)
    mean = (float(directions.sum(0).square().sum()) - count) / (count * (count - 1))
    assert float(apartness(correlation(vectors))) == pytest.approx((1 + mean) / 2, abs=1e-5)


def test_geometric_loss_alone_parts_classes_on_average_and_leaves_their_spread():
    vectors = torch.nn.Parameter(random(4, 8, 16))
    optimizer = torch.optim.Adam([vectors], 0.05)
    before = structure(correlation(vectors.detach()), SIMILARITY)["spread"]
    for _ in range(300):
        optimizer.zero_grad()
        apartness(correlation(vectors)).backward()
        optimizer.step()
    after = correlation(vectors.detach())
    assert float(off_diagonal(after).mean()) == pytest.approx(-1 / 7, abs=1e-3)
    assert structure(after, SIMILARITY)["spread"] > 0.8 * before > 0.1, "it ends in no uniform smoothing by itself"


def test_pairs_of_opposite_directions_are_as_good_for_the_geometric_loss_as_equal_angles():
    paired = correlation(torch.cat([simplex(4), simplex(4)]))  # R = 1 inside four pairs, -1/3 across
    assert float(apartness(paired)) == pytest.approx(float(apartness(correlation(simplex(8)))), abs=1e-6)
    assert structure(paired, ())["spread"] > 0.4


# ---------------------------------------------------------------- shuffled control


@given(seeds, st.integers(2, 12))
def test_circled_leaves_none_in_its_place(seed, count):
    torch.manual_seed(seed)
    order = circled(count)
    assert sorted(order.tolist()) == list(range(count))
    assert not (order == torch.arange(count)).any()


def test_circled_of_one_is_that_one():
    assert circled(1).tolist() == [0]


def test_shuffled_rows_hold_the_same_values_elsewhere():
    torch.manual_seed(0)
    order = cclnet.Block(4, 6, 8, 0.1).order
    found = correlation(random(5, 8, 6))
    plain, dealt = soft_labels(found, 0.25, 1.0), soft_labels(found, 0.25, 1.0, order)
    assert torch.equal(plain.diag(), dealt.diag())
    assert torch.equal(plain.sort(1).values, dealt.sort(1).values)
    beside = ~torch.eye(8, dtype=torch.bool)
    assert not torch.isclose(plain, dealt)[beside].any(), "no value stays where it was"


def test_shuffling_changes_the_training_only_through_soft_labels():
    one, other = small_method("cclnet", warmup=1), small_method("cclnet", warmup=1, shuffled=True)
    assert float(logged(one, 1)[0]) == float(logged(other, 1)[0])
    assert float(logged(one, 2)[0]) != float(logged(other, 2)[0])


# ---------------------------------------------------------------- training


def test_warm_up_leaves_the_soft_labels_out():
    model = small_method("cclnet", warmup=3)
    for epoch in (1, 3):
        assert set(logged(model, epoch)[1]) == {"ce", "dml", "cc", "spread"}
    assert set(logged(model, 4)[1]) == {"ce", "dml", "cc", "kl", "spread"}


def test_loss_is_the_weighted_sum_of_its_terms():
    plain = small_method("cclnet", warmup=0, dml_weight=1.0, cc_weight=1.0, kl_weight=1.0)
    heavy = small_method("cclnet", warmup=0, dml_weight=2.0, cc_weight=3.0, kl_weight=4.0)
    loss, logs = logged(plain, 1)
    assert float(loss) == pytest.approx(sum(float(logs[k]) for k in ("ce", "dml", "cc", "kl")), rel=1e-5)
    expected = logs["ce"] + 2 * logs["dml"] + 3 * logs["cc"] + 4 * logs["kl"]
    assert float(logged(heavy, 1)[0]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("detach", [False, True])
def test_detached_features_keep_metric_learning_from_the_backbone(detach):
    model = small_method("cclnet", detach=detach)
    seen = {}
    hook = model.block.register_forward_pre_hook(lambda block, inputs: seen.update(feature=inputs[0]))
    logged(model, 1)
    hook.remove()
    assert seen["feature"].requires_grad is not detach


def test_soft_labels_follow_the_embeddings_from_step_to_step():
    model = small_method("cclnet", warmup=0)
    before = soft_labels(model.correlation, 0.25, 1.0)
    for _ in range(3):
        fit.step(model, model.optimizers(), [batch_of()], 0, Budget(precision="float32"), bf16=False)
    target = soft_labels(model.correlation, 0.25, 1.0)
    assert not torch.allclose(before, target, atol=1e-4)
    model.stream = method.Stream(5)
    logs = logged(model, 1)[1]
    model.stream = method.Stream(5)
    _, logits = model.classifier(varied(batch_of()["image"], model.rand(8, DRAWS), 0, model.config.jitter))
    mixed = soft_labels(model.correlation, model.config.tau, model.config.mix)
    expected = float(divergence(mixed[batch_of()["class"]], logits).detach())
    assert float(logs["kl"]) == pytest.approx(model.config.kl_weight * expected, rel=1e-5)


def test_spread_is_logged_as_it_is():
    model = small_method("cclnet")
    matrix = model.correlation
    logs = logged(model, 1)[1]
    values = [float(matrix[k, l]) for k in range(8) for l in range(8) if k != l]
    assert float(logs["spread"]) == pytest.approx(np.std(values), abs=1e-6)


def test_block_is_dropped_in_use():
    model, plain = small_method("cclnet").eval(), small_method("hardlabels").eval()
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(model.classifier) == count(plain) < count(model)
    with torch.inference_mode():
        before = model.predict(batch_of())
        model.block = None
        after = model.predict(batch_of())
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_small_network_has_the_cards_size():
    for name, low, high in (("small", 55_000, 65_000), ("depthwise", 5_000, 40_000)):
        model = method.method_class("hardlabels")(method.method_class("hardlabels").Config(backbone=name))
        assert low < sum(p.numel() for p in model.parameters()) < high


@pytest.mark.parametrize("backbone", ["small", "depthwise", "resnet10"])
def test_head_plugs_into_any_backbone(backbone):
    model = small_method("cclnet", backbone=backbone)
    before = [p.detach().clone() for p in model.parameters()]
    fit.step(model, model.optimizers(), [batch_of()], 0, Budget(precision="float32"), bf16=False)
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters()))
    out = model.eval().predict(batch_of())
    assert out["logits"].shape == (8, 8) and out["feature"].shape == (8, model.classifier.backbone.width)


def clusters(seed, count=600):
    """Features (N, 16) of eight classes in four pairs, and the classes (N,): within a pair they overlap."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 8, (count,), generator=generator)
    centres = 2 * torch.randn(4, 16, generator=generator)
    cue = torch.randn(16, generator=generator)
    side = (label % 2 * 2 - 1).float()[:, None]
    return centres[label // 2] + 0.1 * side * cue + torch.randn(count, 16, generator=generator), label


@pytest.mark.parametrize("seed", range(3))
def test_block_learns_the_known_similarity(seed):
    torch.manual_seed(seed)
    block, (feature, label) = cclnet.Block(16, 32, 8, 0.03), clusters(seed)
    at_first = structure(correlation(block.embeddings.detach()), SIMILARITY)
    optimizer = torch.optim.Adam(block.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = metric_loss(block(feature), label) + 0.1 * apartness(correlation(block.embeddings))
        loss.backward()
        optimizer.step()
    learned = structure(correlation(block.embeddings.detach()), SIMILARITY)
    assert learned["spearman"] > 0.5 > at_first["spearman"]
    assert learned["r_inside"] > learned["r_across"]


def test_random_embeddings_tell_nothing():
    found = [structure(correlation(random(seed, 8, 32)), SIMILARITY)["spearman"] for seed in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 300**0.5
    assert np.mean(np.array(found) > 0.5) < 0.02


# ---------------------------------------------------------------- structure and scores


def test_structure_by_hand():
    found = torch.full((8, 8), -0.2)
    for pair in range(4):
        found[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = 0.6
    told = structure(found.fill_diagonal_(1), SIMILARITY)
    assert told["r_inside"] == pytest.approx(0.6) and told["r_across"] == pytest.approx(-0.2)
    assert told["r_gap"] == pytest.approx(0.8) and told["spearman"] == pytest.approx(1)
    assert told["spread"] == pytest.approx(0.8 * math.sqrt(8 / 56 * 48 / 56), rel=1e-5)


def test_rank_correlation_is_bounded_where_ranks_tie():
    noise = random(6, 8, 8).abs() * 0.01
    found = torch.tensor(SIMILARITY) + noise + noise.T
    assert structure(found, SIMILARITY)["spearman"] == pytest.approx(BOUND, abs=1e-3)
    above = torch.ones(8, 8, dtype=torch.bool).triu(1)
    expected = stats.spearmanr(found[above], torch.tensor(SIMILARITY)[above]).statistic
    assert structure(found, SIMILARITY)["spearman"] == pytest.approx(expected)
    assert math.isnan(metrics.spearman(torch.ones(5), torch.arange(5.0)))


def test_structure_that_nobody_knows_is_not_judged():
    told = structure(correlation(random(8, 5, 9)), ())
    assert told.pop("spread") > 0
    assert set(told) == {"spearman", "r_inside", "r_across", "r_gap"} and all(map(math.isnan, told.values()))


def test_numbers_of_a_run_count_once():
    assert once({"spread": 0.5}, 3)["spread"].nan_to_num(-1).tolist() == [0.5, -1, -1]
    assert once({"spread": 0.5}, 1)["spread"].tolist() == [0.5]


@settings(deadline=None)
@given(seeds, st.integers(2, 8), st.integers(1, 80))
def test_pooled_metrics_are_those_of_torchmetrics(seed, classes, count):
    logits, label = 2 * random(seed, count, classes), (random(seed + 1, count).abs() * 2).long().clamp_max(classes - 1)
    found = scores({"class": label}, {"logits": logits})
    found |= pooled(found)
    mean = {key: float(value.mean()) for key, value in found.items()}
    called, kind = logits.argmax(1), {"num_classes": classes, "average": "macro"}
    assert mean["accuracy"] == pytest.approx(float((called == label).float().mean()))
    assert mean["nll"] == pytest.approx(float(F.cross_entropy(logits, label)), rel=1e-4)
    assert mean["f1"] == pytest.approx(float(reference.multiclass_f1_score(called, label, **kind)), abs=1e-5)
    recall = [float((called[label == k] == k).float().mean()) for k in label.unique()]
    assert mean["balanced_accuracy"] == pytest.approx(np.mean(recall), abs=1e-5)
    expected = reference.multiclass_calibration_error(logits.softmax(1), label, classes, n_bins=15, norm="l1")
    assert mean["ece"] == pytest.approx(float(expected), abs=1e-4)


def test_calibration_error_by_hand():
    confidence, right = torch.tensor([0.95, 0.95, 0.55, 0.55]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    assert float(metrics.calibration_parts(confidence, right).mean()) == pytest.approx((0.45 + 0.45) / 2)


def test_directions_and_what_is_no_metric():
    assert [better(name) for name in ("nll", "ece", "f1", "balanced_accuracy", "spearman")] == [-1, -1, 1, 1, 1]
    assert {"label", "called", "confidence"} <= set(NOT_METRICS)


# ---------------------------------------------------------------- augmentation


def test_training_images_are_turned_and_mirrored_eight_ways():
    image = torch.rand(1, 3, 6, 6)
    seen = {}
    for n in range(8):
        draw = torch.full((1, DRAWS), 0.5)
        draw[0, 2:5] = torch.tensor([0.9 * (n >> i & 1) for i in range(3)])
        seen[varied(image, draw, 0, 0.0).numpy().tobytes()] = n
    expected = {
        torch.rot90(x, k, (2, 3)).contiguous().numpy().tobytes() for x in (image, image.flip(3)) for k in range(4)
    }
    assert set(seen) == expected


def test_jitter_changes_light_and_colour_within_its_bound():
    image = torch.full((64, 3, 4, 4), 0.5)
    changed = varied(image, torch.rand(64, DRAWS, generator=torch.Generator().manual_seed(0)), 0, 0.1)
    assert changed.min() >= 0.5 * 0.9**2 - 1e-6 and changed.max() <= 0.5 * 1.1**2 + 1e-6
    assert changed.std() > 0.01
    assert torch.equal(varied(image, torch.rand(64, DRAWS), 0, 0.0), image)


def test_crop_is_the_middle_in_use_and_anywhere_in_training():
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(3, 1, 8, 8)
    assert torch.equal(cut(image, 4), image[..., 2:6, 2:6]) and torch.equal(cut(image, 0), image)
    draw = torch.tensor([[0.0, 0.0], [0.999, 0.999], [0.0, 0.999]])
    assert cut(image, 4, draw)[:, 0, 0, 0].tolist() == [0, 36, 4]


# ---------------------------------------------------------------- rivals


def test_label_smoothing_is_torchs():
    logits, label = random(7, 9, 5), torch.arange(9) % 5
    for epsilon in (0.0, 0.1):
        expected = F.cross_entropy(logits, label, label_smoothing=epsilon)
        assert float(F.cross_entropy(logits, smoothed(label, 5, epsilon))) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(smoothed(label, 5, 0.0), F.one_hot(label, 5).float())


def test_rivals_start_from_the_same_weights_and_differ_in_their_targets_alone():
    hard, soft, own = (small_method(name) for name in ("hardlabels", "lsr", "cclnet"))
    for other in (soft, own):
        assert all(torch.equal(p, q) for p, q in zip(hard.parameters(), other.classifier.parameters()))
    zero = small_method("lsr", epsilon=0.0)
    losses = [float(next(m.updates(batch_of()))[1].detach()) for m in (hard, zero, soft)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6) and losses[0] != losses[2]
    assert float(logged(own, 1)[1]["ce"]) == pytest.approx(losses[0], rel=1e-6)


def test_colour_statistics_see_no_shape():
    image = torch.rand(2, 3, 16, 16)
    found = colorforest.statistics(image)
    assert found.shape == (2, colorforest.FEATURES)
    middle = image[:, :, 4:12, 4:12].flatten(2)[:, :, torch.randperm(64)].view(2, 3, 8, 8)
    shuffled = image.clone()
    shuffled[:, :, 4:12, 4:12] = middle
    torch.testing.assert_close(colorforest.statistics(shuffled), found)
    flat = colorforest.statistics(torch.full((1, 3, 16, 16), 0.25))[0]
    assert sorted(set(flat.round(decimals=5).tolist())) == pytest.approx([0, 0.25], abs=1e-5)


def test_forest_learns_colours_and_is_the_same_when_read_again():
    colours = torch.linspace(0.1, 0.9, 4)
    label = torch.arange(32) % 4
    image = colours[label].view(-1, 1, 1, 1) + 0.02 * torch.rand(32, 3, 16, 16)
    batch = {"image": image, "class": label}
    make = lambda: colorforest.ColorForest(colorforest.Config(trees=20, classes="a,b,c,d"))  # noqa: E731
    model = make()
    assert model.predict(batch)["logits"].softmax(1).tolist()[0] == pytest.approx([0.25] * 4)
    assert list(model.updates(batch)) == []
    model.epoch = 2
    list(model.updates(batch))
    assert len(model.known) == 32, "every image counts once"
    found = model.predict(batch)
    assert (found["logits"].argmax(1) == label).all()
    assert torch.isfinite(found["logits"]).all(), "no class is impossible"
    again = make()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.predict(batch)["logits"], found["logits"])
    told = model.pooled(model.score(batch, found))
    assert float(told["f1"].mean()) == pytest.approx(1) and "spread" in told


# ---------------------------------------------------------------- study


def test_arms_are_those_of_the_card():
    arms = study.arms_of("cclnet", ("rivals", "floors", "variants", "ablations"))
    assert {"hardlabels", "lsr", "dml", "no_cc", "cclnet", "shuffled", "detached", "depthwise"} <= set(arms)
    assert {"colorforest", "hardlabels-depthwise", "lsr-depthwise"} <= set(arms)
    for claim in cclnet.CLAIMS:
        assert {claim.arm or "cclnet", claim.other or "cclnet"} <= set(arms), claim.text
    assert [claim.metric for claim in cclnet.CLAIMS if claim.kind == "must"] == ["r_gap", "spearman"]
    assert claims.__doc__


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    arms = study.arms_of("cclnet", ("hardlabels", "colorforest"), change={"base": 4})
    options = {"size": 32, "train": 16, "valid": 8, "test": 16}
    budget = {"epochs": 2, "batch": 8, "precision": "float32"}
    arms = {
        name: study.Arm(arm.method, {k: v for k, v in arm.config.items() if k == "base"}) for name, arm in arms.items()
    }
    root = tmp_path_factory.mktemp("runs")
    return study.Study(arms, options, budget, seeds=(0, 1), root=root).run()


def test_study_keeps_what_pages_need(ran):
    run = ran.runs[0]
    assert run.samples.wholes == ["correlation", "similarity"]
    assert np.allclose(run.samples.whole("similarity"), SIMILARITY)
    assert np.allclose(run.samples.whole("correlation"), predict.load(run).correlation, atol=1e-6)
    assert run.samples.array("probability").shape == (16, 8) and run.samples.array("feature").shape == (16, 16)
    assert run.samples.index["labels"]["slate-jagged"] == [7]
    assert {"label", "called", "confidence", "case", "group"} <= set(run.samples.cases[0])
    with pytest.raises(ValueError, match="one of correlation, similarity"):
        run.samples.whole("logits")


def test_study_judges_numbers_of_a_run_over_seeds(ran):
    verdicts = {(told["claim"], told["metric"]): told for told in ran.claims()}
    told = verdicts["classes of a pair correlate more than others", "r_gap"]
    per_run = [float(r.scores()["r_gap"].dropna().iloc[0]) for r in ran.runs[:: len(ran.arms)]]
    low, high = told["interval"]
    assert told["difference"] == pytest.approx(np.mean(per_run))
    half = stats.t.ppf(0.975, 1) * np.std(per_run, ddof=1) / math.sqrt(2)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-6), "the spread over seeds, not over cases"
    assert {"f1", "ece", "nll", "spearman"} <= {metric for _, metric in ran.table().columns}


def test_claims_that_images_of_unknown_similarity_cannot_tell_are_left_out(tmp_path):
    for number in range(18):
        folder = tmp_path / "images" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    options = {"root": str(tmp_path / "images"), "size": 32, "train": 8, "valid": 3, "test": 3}
    arms = {name: study.Arm(name, {"base": 4}) for name in ("cclnet", "hardlabels")}
    ran = study.Study(arms, options, {"epochs": 1, "batch": 4, "precision": "float32"}, root=tmp_path / "runs").run()
    assert {one["metric"] for one in ran.claims()} == {"f1", "nll"}
    assert ran.runs[0].samples.wholes == ["correlation"]
    assert (ran.table()["average", "spearman"] == "-").all()


def test_weights_of_a_file_are_read_once_and_those_of_another_architecture_refused(tmp_path):
    from safetensors.torch import save_file

    source = small_method("hardlabels")
    with torch.no_grad():
        for p in source.parameters():
            p.add_(1)
    save_file(source.classifier.backbone.net.state_dict(), tmp_path / "small.safetensors")
    for name in ("cclnet", "hardlabels", "lsr"):
        model = small_method(name, weights=str(tmp_path / "small.safetensors"))
        before = {k: v.clone() for k, v in model.state_dict().items()}
        assert not torch.equal(next(model.parameters()), next(source.parameters())), "not before it begins"
        model.begin()
        for p, q in zip(model.classifier.backbone.parameters(), source.classifier.backbone.parameters()):
            assert torch.equal(p, q)
        assert torch.equal(model.classifier.head.weight, before["classifier.head.weight"])
    with pytest.raises(InvalidParameter, match="weights of this architecture"):
        small_method("cclnet", backbone="depthwise", weights=str(tmp_path / "small.safetensors")).begin()


# ---------------------------------------------------------------- files of one's own


@pytest.fixture
def photographs(tmp_path):
    """A folder `in` of images in colour, grey and 16 bits, a damaged one, and a mask that is not to be classified."""
    folder, rng = tmp_path / "in", np.random.default_rng(3)
    for name in ("left/one.png", "right/one.png", "two.jpg", "masks/two.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3)).astype(np.uint8)).save(folder / name)
    Image.fromarray(rng.integers(0, 65536, (50, 33)).astype(np.uint16)).save(folder / "grey.png")
    (folder / "broken.png").write_bytes((folder / "left" / "one.png").read_bytes()[:90])
    return folder


@pytest.mark.parametrize("number", range(3))
def test_images_of_a_folder_become_a_table_of_probabilities(ran, number, photographs, tmp_path, capsys):
    run = ran.runs[number]
    (path,) = predict.apply(run, photographs, tmp_path / "out")
    table = pd.read_csv(path)
    assert path.name == "probabilities.csv" and list(table.columns) == ["image", "class", *CLASSES]
    assert table["image"].tolist() == ["grey", "left_one", "right_one", "two"]
    likely = table[list(CLASSES)].to_numpy()
    np.testing.assert_allclose(likely.sum(1), 1, atol=1e-5)
    assert table["class"].tolist() == [CLASSES[n] for n in likely.argmax(1)]
    files = [photographs / name for name in ("grey.png", "left/one.png", "right/one.png", "two.jpg")]
    batch = {"image": torch.stack([unseen(file, 32) for file in files])}
    with torch.inference_mode():
        expected = predict.load(run).predict(batch)["logits"].softmax(1)
    np.testing.assert_allclose(likely, expected, atol=1e-5)
    assert capsys.readouterr().out.count("set aside: broken.png: expected") == 1
    with pytest.raises(InvalidParameter, match="overwrite"):
        predict.apply(run, photographs, tmp_path / "out")


def test_one_image_alone_is_seen_as_the_data_show_it(ran, tmp_path):
    image = small_data("lesion").test.__getitems__([0])["image"][0]
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "lesion.png")
    assert torch.equal(unseen(tmp_path / "lesion.png", 32), image)
    (path,) = predict.apply(ran.runs[0], tmp_path / "lesion.png", tmp_path / "out")
    assert pd.read_csv(path)["image"].tolist() == ["lesion"]


@pytest.mark.parametrize("name", ["cclnet", "hardlabels", "lsr", "colorforest"])
def test_predictions_hold_what_diagrams_need(name):
    model = small_method(name).eval()
    with torch.inference_mode():
        found = model.predict(batch_of(5))
    assert found["probability"].shape == found["logits"].shape == (5, 8) and len(found["feature"]) == 5
    assert torch.allclose(found["probability"], found["logits"].softmax(1), atol=1e-6)
