"""The classifier of traced nodes: its loss, cubes, smoothing, threshold and events, by hand; and its rivals."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import ndimage
from torch.nn import functional as F

from workbench import data, fit, method, study, task, views
from workbench.baselines import chance
from workbench.compare import better
from workbench.data.neuron import Options, rules
from workbench.errors import InvalidParameter
from workbench.losses.imbalanced import balanced, weighted_bce
from workbench.method import Stream
from workbench.methods import neuronqc
from workbench.methods.neuronqc import ABLATIONS, CLAIMS, PAPER, TINY, Config, NeuronQC
from workbench.models import resnet, stacks, tracing
from workbench.models.tracing import KINDS, runs, smoothed, threshold_at
from workbench.views import trees

ARMS = ("neuronqc", "rulescore", "chance")
FEW = {"size": 32, "train": 2, "valid": 2, "test": 2, "folds": 2}
BUDGET = {"epochs": 1, "batch": 8, "precision": "float32", "valid_every": 0, "device": "cpu"}
PATH = torch.arange(-1, 19)  # the parents of a path of 20 nodes


def make(**changes):
    return small_method("neuronqc", **changes)


def train_batch(count=8):
    part = small_data("neuron").train
    onset = part.tensors["onset"][part.where[:, 0], 0, part.where[:, 1]]
    items = torch.cat([(onset == value).nonzero()[: count // 2, 0] for value in (1, 0)])
    return part.__getitems__(items.tolist())


def whole():
    return small_data("neuron").test.__getitems__([0, 1, 2])


def judged(parent=PATH, **fields):
    """A batch of one traced path, with an error near node 5."""
    count = len(parent)
    nodes = torch.zeros(1, 1, count, 3)
    nodes[0, 0, :, 2] = 2.0 * torch.arange(count)
    batch = {
        "nodes": nodes, "parent": parent.view(1, 1, -1), "onset": torch.zeros(1, 1, count),
        "branch": torch.zeros(1, 1, count), "place": torch.tensor([[[0, 0, 10.0], [0, 0, 0]]]),
        "kind": torch.tensor([[2, 0]]), "spacing": torch.ones(1, 3), "tolerance": torch.tensor([3.0]),
    }  # fmt: skip
    return batch | fields


def alerts_at(*places, count=20):
    score = torch.zeros(1, 1, count)
    score[0, 0, list(places)] = 1
    return {"score": score}


def values(batch, prediction):
    found = tracing.scores(batch, prediction, torch.tensor(0.5))
    return {key: value.item() for key, value in found.items() if value.numel() == 1}


# ---------------------------------------------------------------- the loss and the sample


@given(st.integers(0, 10_000), st.floats(0.1, 20), st.sampled_from([0.0, 0.5, 2.0]))
@settings(max_examples=30, deadline=None)
def test_weighted_loss_is_a_loop(seed, weight, gamma):
    rng = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(17, generator=rng, dtype=torch.float64)
    label = torch.randint(-1, 2, (17,), generator=rng)
    total, count = 0.0, 0
    for logit, y in zip(logits.tolist(), label.tolist()):
        if y < 0:
            continue
        p = 1 / (1 + math.exp(-logit))
        total -= weight * y * (1 - p) ** gamma * math.log(p) + (1 - y) * p**gamma * math.log(1 - p)
        count += 1
    assert weighted_bce(logits, label, weight, gamma).item() == pytest.approx(total / max(count, 1), rel=1e-5, abs=1e-7)


def test_weighted_loss_agrees_with_torch_and_has_its_gradient():
    logits, label = torch.randn(40, dtype=torch.float64, requires_grad=True), torch.randint(0, 2, (40,)).double()
    expected = F.binary_cross_entropy_with_logits(logits, label, pos_weight=torch.tensor(3.0))
    torch.testing.assert_close(weighted_bce(logits, label, 3.0).double(), expected, atol=1e-6, rtol=1e-6)
    huge = torch.tensor([500.0, -500.0], requires_grad=True)
    weighted_bce(huge, torch.tensor([0, 1]), 2.0, 2.0).backward()
    assert torch.isfinite(huge.grad).all()


def test_a_batch_without_labels_teaches_nothing():
    logits = torch.randn(5, requires_grad=True)
    weighted_bce(logits, torch.full((5,), -1)).backward()
    assert not logits.grad.any()


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_balanced_samples_are_half_positive_and_never_ignored(seed):
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(-1, 2, (20,), generator=rng).float()
    label[:2] = torch.tensor([0.0, 1.0])
    chosen = label[balanced(label, torch.rand(20, generator=rng))]
    assert (chosen[:10] == 1).all() and (chosen[10:] == 0).all()


def test_mining_draws_from_what_looks_most_wrong():
    label, score = torch.zeros(40), torch.arange(40.0)
    label[[0, 39]] = 1
    chosen = balanced(label, torch.rand(40), score, share=0.25)
    assert set(chosen[:20].tolist()) <= {0, 39} and set(chosen[20:].tolist()) <= set(range(29, 39))


def test_a_batch_of_one_class_stays():
    for label in (torch.zeros(5), torch.ones(5), torch.full((5,), -1.0)):
        assert balanced(label, torch.rand(5)).tolist() == [0, 1, 2, 3, 4]


def test_weight_comes_from_the_training_nodes():
    part, spec = small_data("neuron").train, small_data("neuron").spec
    for key in ("onset", "branch"):
        label = part.tensors[key]
        assert spec[f"{key}_odds"] == pytest.approx(((label == 0).sum() / (label == 1).sum()).item(), abs=1e-4)
        assert make(labels=key).weight == spec[f"{key}_odds"] > 1
    assert make(positive_weight=3.0).weight == 3.0 and make(sampling="mined").weight == 1.0


# ---------------------------------------------------------------- cubes


def test_turns_act_alike_on_both_channels():
    cube = torch.rand(48, 1, 6, 6, 6).expand(48, 4, 6, 6, 6)
    made = stacks.turned(cube, torch.arange(48) / 48 + 0.001)
    assert all(torch.equal(made[:, 0], made[:, channel]) for channel in range(4))
    marked = cube.clone()
    marked[:, 1] *= 2
    assert torch.equal(stacks.turned(marked, torch.arange(48) / 48 + 0.001)[:, 1], 2 * made[:, 0])


def test_turns_are_the_48_of_a_cube_and_leave_others_alone():
    cube = torch.arange(27.0).view(1, 1, 3, 3, 3)
    made = stacks.turned(cube.expand(48, 1, 3, 3, 3), torch.arange(48) / 48 + 0.001)
    assert len({tuple(one.flatten().tolist()) for one in made}) == 48
    assert torch.equal(made[:, 0, 1, 1, 1], torch.full((48,), 13.0)) and torch.equal(made[0], cube[0])
    assert all(sorted(one.flatten().tolist()) == list(range(27)) for one in made)
    corner = {tuple(sorted(one[0, x, y, z].item() for x in (0, 2) for y in (0, 2) for z in (0, 2))) for one in made}
    assert len(corner) == 1, "corners stay corners"
    torch.testing.assert_close(stacks.turned(cube.expand(2, 1, 3, 3, 3), torch.tensor([0.0, 0.999]))[0], cube[0])


def test_brightness_goes_from_percentile_to_percentile():
    image = torch.arange(1000.0).view(1, 10, 10, 10) * 7 + 3
    made = stacks.scaled(image)
    low, high = np.quantile(image, [0.01, 0.998], method="nearest")
    expected = ((image - low) / (high - low)).clip(0, 1)
    torch.testing.assert_close(made, expected.float(), atol=2e-3, rtol=0)
    assert made.min() == 0 and made.max() == 1 and not stacks.scaled(torch.full((1, 4, 4, 4), 7)).any()
    torch.testing.assert_close(stacks.scaled(0.1 * image - 20), made, atol=1e-4, rtol=0)


@given(st.integers(0, 10_000), st.sampled_from([2, 40, 256]))
@settings(max_examples=25, deadline=None)
def test_counting_bytes_finds_the_percentiles_of_sorting(seed, levels):
    values = np.random.default_rng(seed).integers(0, levels, (3, 4, 4, 4), dtype=np.uint8)
    low, high = np.quantile(values.reshape(3, -1), [0.01, 0.998], axis=1, method="nearest")
    found = stacks.percentiles(torch.from_numpy(values).flatten(1))
    assert np.array_equal(found[0], low) and np.array_equal(found[1], high)
    torch.testing.assert_close(stacks.scaled(torch.from_numpy(values)), stacks.scaled(torch.from_numpy(values).float()))


def test_second_scale_is_twice_as_wide():
    cube = torch.zeros(1, 2, 16, 16, 16, dtype=torch.uint8)
    cube[0, 1, 8, 8, 8], cube[0, 1, 1, 1, 1], cube[0, 0, :, :, 8:] = 255, 255, 100
    made = stacks.prepared(cube, 8, 2)[0]
    assert made.shape == (4, 8, 8, 8) and set(made[1].unique().tolist()) == {0, 1}
    assert made[1].nonzero().tolist() == [[4, 4, 4]] and made[3].nonzero().tolist() == [[0, 0, 0], [4, 4, 4]]
    assert made[0, 0, 0].tolist() == made[2, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert torch.equal(stacks.prepared(cube, 8, 1)[0], made[:2])


@pytest.mark.parametrize(("name", "channels"), [("image_only", 1), ("trace_only", 1), ("two_scales", 4), ("mip", 2)])
def test_variants_see_their_channels(name, channels):
    model, batch = make(**ABLATIONS[name]), train_batch()
    cube = model.cubes(batch, torch.arange(8))
    assert cube.shape == (8, channels, 16, 16, 16)
    both = make().cubes(batch, torch.arange(8))
    expected = {"image_only": both[:, :1], "trace_only": both[:, 1:], "mip": both, "two_scales": cube}[name]
    assert torch.equal(cube, expected)


def test_image_only_does_not_know_the_trace_and_the_other_way_round():
    batch = whole()
    for sees, channel in (("image", 1), ("trace", 0)):
        model = make(sees=sees).eval()
        changed = batch | {"stack": batch["stack"].clone()}
        changed["stack"][:, :, channel] = 255 - changed["stack"][:, :, channel]
        torch.testing.assert_close(model.predict(batch)["score"], model.predict(changed)["score"])
    changed["stack"][:, :, 1] = 255 - changed["stack"][:, :, 1]
    assert not torch.allclose(make().eval().predict(batch)["score"], make().eval().predict(changed)["score"])


def test_projections_go_through_one_network_and_are_averaged():
    net, cube = make(view="mip").net.eval(), torch.rand(3, 2, 16, 16, 16)
    features = [net.body(cube.max(axis).values) for axis in (2, 3, 4)]
    torch.testing.assert_close(net(cube), net.head(sum(features) / 3)[:, 0])


# ---------------------------------------------------------------- the network and its settings


def test_network_has_the_stated_widths():
    net = NeuronQC(Config(**{k: v for k, v in PAPER.items() if hasattr(Config, k)})).net
    assert [stage.second.out_channels for stage in net.body.stages] == [16, 32, 64, 128]
    assert net.head.in_features == 128 and net.body.stem[0].in_channels == 2
    seen = net.body.stages(net.body.stem(torch.zeros(2, 2, 32, 32, 32)))
    assert seen.shape == (2, 128, 2, 2, 2)
    assert [stage.second.out_channels for stage in NeuronQC(Config()).net.body.stages] == [8, 16, 32]
    assert isinstance(NeuronQC(Config(view="mip")).net.body.stem[0], torch.nn.Conv2d)


def test_residual_block_is_its_definition():
    block = resnet.ResidualBlock(2, 3, 4).eval()
    x = torch.randn(2, 3, 8, 8)
    inner = F.relu(block.norms[0](F.conv2d(x, block.first.weight, stride=2, padding=1)))
    outer = block.norms[1](F.conv2d(inner, block.second.weight, padding=1))
    expected = F.relu(outer + block.norms[2](F.conv2d(x, block.short.weight, stride=2)))
    torch.testing.assert_close(block(x), expected)


def test_cubes_wider_than_the_box_are_refused():
    with pytest.raises(InvalidParameter, match="at most box=32, found 64"):
        Config(patch=32, scales=2)
    assert Config(patch=32, scales=2, box=64).patch == 32
    with pytest.raises(InvalidParameter, match="patch"):
        Config(patch=12)


def test_settings_beyond_the_defaults_are_those_of_the_card():
    assert (PAPER["patch"], PAPER["near"], PAPER["batch"], PAPER["epochs"], PAPER["lr"]) == (32, 3, 32, 30, 1e-3)
    assert Config().rate == 0.014 and Options().folds == 5 and Config().patch == 16 and Options().near == 2
    assert {claim.kind for claim in CLAIMS if claim.metric == "ap" and claim.other == "image_only"} == {"must"}
    assert sum(claim.kind == "must" for claim in CLAIMS) == 1
    assert not set(TINY) & {"patch", "base"}


def test_lower_is_better_where_alerts_are_false():
    assert [better(name) for name in ("false_alerts", "false_alerts_gold", "false_runs", "ap", "detected_jump")] == [
        -1, -1, -1, 1, 1,
    ]  # fmt: skip


@pytest.mark.parametrize("change", [*ABLATIONS.values(), {"labels": "branch", "sampling": "balanced", "turn": False}])
def test_every_variant_takes_a_step(change):
    model = make(**change)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    logs = fit.step(model, model.optimizers(), [train_batch()], 0, FLOAT32, bf16=False)
    assert torch.isfinite(logs["loss"])
    assert not [key for key, p in model.named_parameters() if torch.equal(p, before[key])]


def test_mining_leaves_the_running_means_to_the_training_step():
    model, batch = make(sampling="mined"), train_batch()
    cube = model.cubes(batch, torch.arange(8))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    model.judged(cube)
    assert model.net.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_nodes_that_are_left_out_do_not_change_the_loss():
    model, batch = make(turn=False), train_batch()
    batch["onset"][3] = -1
    model.stream = Stream(0)
    ((_, first, _),) = model.updates(batch)
    cube = model.cubes(batch, torch.arange(8))
    label = batch["onset"][:, 0, 0]
    logits = model.net(cube)
    kept = [0, 1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(first, weighted_bce(logits[kept], label[kept], model.weight))


# ---------------------------------------------------------------- prediction


def test_chunks_and_padding_do_not_matter():
    batch, model = whole(), make().eval()
    first = model.predict(batch)
    wide = {key: F.pad(batch[key], (0, 7), value=fill) for key, fill in (("parent", -2), ("onset", -1), ("branch", -1))}
    wide |= {key: F.pad(batch[key], (0, 0, 0, 7)) for key in ("nodes", "rules")}
    second = make(chunk=7).eval().predict(batch | wide)
    torch.testing.assert_close(F.pad(first["score"], (0, 7)), second["score"], atol=1e-5, rtol=1e-5)
    padded = batch["parent"] == -2
    assert not first["score"][padded].any() and (first["score"][~padded] > 0).all()
    one, other = (tracing.scores(b, p, torch.tensor(0.5)) for b, p in ((batch, first), (batch | wide, second)))
    for key in one:
        torch.testing.assert_close(one[key], other[key], equal_nan=True)


def test_a_wide_stack_is_judged_node_by_node():
    """What is predicted of a node is what the network says of the cube that training would cut."""
    batch, model = whole(), make(smoothing=0).eval()
    with torch.inference_mode():
        score = model.predict(batch)["score"]
        cube = stacks.cubes(batch["stack"][:, 1], torch.tensor([2]), batch["nodes"][2, 1, 9:10], batch["spacing"], 16)
        alone = model.net(stacks.prepared(cube, 16, 1)).sigmoid()
    torch.testing.assert_close(score[2, 1, 9:10], alone, atol=1e-5, rtol=1e-5)


def slow_smoothing(score, parent, rounds):
    for _ in range(rounds):
        made = []
        for node in range(len(parent)):
            around = [
                node,
                *([parent[node]] if parent[node] >= 0 else []),
                *[k for k, p in enumerate(parent) if p == node],
            ]
            made.append(sum(score[k] for k in around) / len(around) if parent[node] > -2 else 0.0)
        score = made
    return score


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_smoothing_is_a_loop_over_parents_and_children(seed, rounds):
    rng = np.random.default_rng(seed)
    trees = [[-1, *[int(rng.integers(-1, k)) for k in range(1, 9)], -2, -2] for _ in range(4)]
    parent, score = torch.tensor(trees).view(2, 2, 11), torch.from_numpy(rng.random((2, 2, 11))).float()
    score = score * (parent > -2)
    expected = [slow_smoothing(s, p, rounds) for s, p in zip(score.flatten(0, 1).tolist(), trees)]
    torch.testing.assert_close(smoothed(score, parent, rounds).flatten(0, 1), torch.tensor(expected))
    assert torch.equal(smoothed(score, parent, 0), score)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_of_a_path_are_those_of_ndimage(alert):
    alert, parent = np.array(alert), np.arange(-1, len(alert) - 1)
    np.testing.assert_array_equal(runs(alert, parent), ndimage.label(alert)[0])


def test_runs_go_through_branch_points_and_not_through_gaps():
    parent = np.array([-1, 0, 1, 2, 1, 4, 5, -1, -2])
    assert runs(np.array([0, 1, 1, 0, 1, 0, 1, 1, 0], bool), parent).tolist() == [0, 1, 1, 0, 1, 0, 2, 3, 0]


# ---------------------------------------------------------------- threshold and metrics


def test_threshold_by_hand():
    score = torch.tensor([0.1, 0.9, 0.5, 0.7, 0.3])
    assert [threshold_at(score, rate).item() for rate in (0.0, 0.2, 0.39, 0.4, 1.0)] == pytest.approx(
        [0.9, 0.7, 0.7, 0.5, 0.1]
    )
    assert threshold_at(torch.zeros(0), 0.1) == 0.5


@given(st.integers(0, 1000), st.floats(0, 1), st.booleans())
@settings(deadline=None)
def test_threshold_never_exceeds_the_rate_and_is_the_lowest(seed, rate, coarse):
    score = torch.rand(57, generator=torch.Generator().manual_seed(seed))
    score = (score * 5).round() / 5 if coarse else score
    threshold = threshold_at(score, rate)
    assert (score > threshold).float().mean() <= rate + 1e-6
    lower = score[score < threshold]
    if len(lower) and rate < 1:
        assert (score > lower.max()).float().mean() > rate - 1e-6


@pytest.mark.parametrize("name", ARMS)
def test_threshold_is_a_function_of_validation_neurons_alone(name):
    """Which belong to the training folds; the gold control and what is wrong or left out have no say."""
    source = small_data("neuron")
    model = small_method(name, rate=0.05).eval()
    pairs = [(given, prediction) for given, prediction, _ in fit.evaluate(model, source.valid)]
    model.settle(iter(pairs))
    first = model.threshold.item()
    scores = torch.cat([p["score"][:, 0][g["onset"][:, 0] == 0] for g, p in pairs])
    assert (scores > first).float().mean() <= 0.05 < (scores >= first).float().mean() + 1e-6
    for batch, prediction in pairs:
        score = prediction["score"].clone()
        score[:, 0][batch["onset"][:, 0] != 0] = 9.0
        score[:, 1] = 9.0
        prediction["score"] = score
    model.settle(iter(pairs))
    assert model.threshold.item() == first
    assert not set(source.test.table["group"]) & {*source.valid.table["group"], *source.train.table["group"]}


def test_a_study_fixes_the_threshold_without_the_test_neurons(tmp_path, monkeypatch):
    found = []
    for seed in (0, 1):
        mixed = dataclasses.replace(small_data("neuron"), test=data.open_data("neuron", **FEW, data_seed=seed).test)
        monkeypatch.setattr(task, "opened", lambda kind, options, mixed=mixed: mixed)
        made = study.Study({"rulescore": study.Arm("rulescore", {"rate": 0.1})}, FEW, BUDGET, root=tmp_path).run()
        found.append((load_file(made.runs[0].path / "weights.safetensors")["threshold"], made.scores["ap"].mean()))
    assert found[0][0] == found[1][0] != 0.5 and found[0][1] != found[1][1]


def test_a_run_keeps_little_and_scores_every_neuron(tmp_path):
    made = study.Study({"neuronqc": study.Arm("neuronqc")}, FEW, BUDGET, root=tmp_path).run()
    samples = made.runs[0].path / "samples"
    kept = {path.stem: path.stat().st_size for path in samples.glob("*.npy")}
    assert kept.keys() >= {"image", "nodes", "parent", "onset", "score", "mask", "tolerance"}
    assert kept.pop("volume") < 2 * 32**3 + 200 and sum(kept.values()) < 60_000
    views.check(made.runs[0], trees.NEEDS)
    trees.check(made.runs[0])
    neuron = trees.read(made.runs[0], views.shared(made.runs)[0])
    truth = data.open_data("neuron", **FEW).test
    stack = truth.tensors["stack"][0, 0, 0].numpy()
    for plane, image in zip(trees.PLANES.values(), (stack[7], stack[:, :, 7].T, stack[:, 7])):
        found = trees.cut(made.runs[0], views.shared(made.runs)[0], plane, 7)
        np.testing.assert_array_equal(found[::-1], image)
    assert neuron.unit == "µm" and neuron.files == pytest.approx(neuron.points - 0.5)
    assert len(neuron.points) == (truth.tensors["parent"][0, 0] > -2).sum()
    assert len(made.scores) == 2 and made.scores["ap"].notna().any()


def test_an_event_counts_once_however_many_alerts_hit_it():
    batch = judged()
    none, one, many = (values(batch, alerts_at(*places)) for places in ((), (5,), (4, 5, 6)))
    assert none["detected"] == 0 and one["detected"] == many["detected"] == 1
    assert one["detected_overshoot"] == 1 and math.isnan(one["detected_jump"])


def test_detection_is_within_the_tolerance():
    for place, hit in ((3, 0), (4, 1), (6, 1), (7, 0), (15, 0)):
        assert values(judged(), alerts_at(place))["detected"] == hit
    thick = judged(spacing=torch.tensor([[1.0, 1, 2]]), tolerance=torch.tensor([3.0]))
    assert values(thick, alerts_at(6))["detected"] == 0 and values(thick, alerts_at(5))["detected"] == 1


def test_events_are_shared_out_by_kind():
    batch = judged(place=torch.tensor([[[0, 0, 4.0], [0, 0, 30], [0, 0, 20]]]), kind=torch.tensor([[1, 4, 4]]))
    found = values(batch, alerts_at(2, 15))
    assert found["detected"] == pytest.approx(2 / 3)
    assert (found["detected_jump"], found["detected_spurious"]) == (1, 0.5)


def test_false_alerts_are_over_right_nodes():
    onset = torch.zeros(1, 1, 20)
    onset[0, 0, 4:7], onset[0, 0, [3, 7, 8, 9]] = 1, -1
    found = values(judged(onset=onset), alerts_at(0, 5, 8, 15, 16))
    assert found["false_alerts"] == pytest.approx(3 / 13) and math.isnan(found["false_alerts_gold"])
    assert found["false_runs"] == pytest.approx(100 * 2 / 13)


def test_runs_that_touch_an_error_are_not_false():
    onset = torch.zeros(1, 1, 20)
    onset[0, 0, 5] = 1
    far = judged(onset=onset, tolerance=torch.tensor([0.5]))
    assert values(far, alerts_at(5, 6, 7))["false_runs"] == 0 and values(far, alerts_at(7, 8))["false_runs"] > 0
    near = judged(onset=torch.zeros(1, 1, 20))
    assert values(near, alerts_at(6, 7, 8))["false_runs"] == 0


def test_gold_control_is_the_second_version():
    batch = judged()
    two = {key: batch[key].repeat(1, 2, *[1] * (batch[key].ndim - 2)) for key in ("nodes", "parent", "onset", "branch")}
    score = torch.zeros(1, 2, 20)
    score[0, 0, 0], score[0, 1, :4] = 1, 1
    found = values(batch | two, {"score": score})
    assert (found["false_alerts"], found["false_alerts_gold"]) == (pytest.approx(0.05), pytest.approx(0.2))
    assert found["gold_margin"] == pytest.approx(-0.15)


def test_average_precision_is_of_each_neuron_and_its_own_label():
    onset, branch = torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)
    onset[0, 0, [2, 9]], onset[0, 0, 3], branch[0, 0, 9] = 1, -1, 1
    score = torch.linspace(1, 0.05, 20).view(1, 1, -1)
    found = values(judged(onset=onset, branch=branch), {"score": score})
    assert found["ap"] == pytest.approx((1 / 3 + 2 / 9) / 2) and found["ap_branch"] == pytest.approx(1 / 10)
    assert found["auroc"] == pytest.approx((15 / 17 + 10 / 17) / 2)
    assert math.isnan(values(judged(), {"score": score})["ap"])


def test_each_kind_is_ranked_against_right_nodes():
    onset = torch.zeros(1, 1, 20)
    onset[0, 0, [2, 12]], onset[0, 0, 13] = 1, -1
    batch = judged(onset=onset, place=torch.tensor([[[0, 0, 4.0], [0, 0, 24]]]), kind=torch.tensor([[1, 3]]))
    found = values(batch, {"score": torch.linspace(1, 0.05, 20).view(1, 1, -1)})
    assert found["auroc_jump"] == pytest.approx(15 / 17) and found["auroc_missed"] == pytest.approx(6 / 17)
    assert math.isnan(found["auroc_spurious"])


def test_padding_is_never_an_alert_or_a_right_node():
    parent = torch.cat([PATH[:10], torch.full((10,), -2)])
    onset = torch.cat([torch.zeros(10), torch.full((10,), -1.0)]).view(1, 1, -1)
    batch = judged(parent, onset=onset, place=torch.tensor([[[0, 0, 30.0], [0, 0, 0]]]))
    found = values(batch, alerts_at(1, 15))
    assert found["detected"] == 0 and found["false_alerts"] == pytest.approx(0.1)


# ---------------------------------------------------------------- rivals and the whole


def test_all_arms_are_scored_alike():
    batch = whole()
    keys = [set(small_method(name).eval().predict(batch)) for name in ARMS]
    assert keys[0] == keys[1] == keys[2] == {"score", "mask"}
    names = [set(small_method(n).score(batch, small_method(n).eval().predict(batch))) for n in ARMS]
    assert names[0] == names[1] == names[2] >= {f"detected_{kind}" for kind in KINDS}
    for name in ARMS[:2]:
        assert method.module(name).TINY == TINY


def test_chance_is_even_and_does_not_depend_on_the_batch():
    points = 50 * torch.rand(20_000, 3)
    found = chance.scattered(points)
    assert found.min() >= 0 and found.max() < 1
    counts = torch.histc(found, 10, 0, 1)
    assert (counts - 2000).abs().max() < 250
    assert torch.equal(chance.scattered(points[7:9]), found[7:9])


def test_rule_score_is_a_logistic_regression_of_standardised_rules():
    model = small_method("rulescore").eval()
    with torch.no_grad():
        model.scale.running_mean.copy_(torch.arange(11.0))
        model.scale.running_var.copy_(torch.full((11,), 4.0))
    x = 3 * torch.randn(6, 11)
    expected = ((x - torch.arange(11.0)) / (4 + 1e-5) ** 0.5).clamp(-5, 5) @ model.linear.weight[0] + model.linear.bias
    torch.testing.assert_close(model.logits(x), expected)
    assert small_data("neuron").spec["rules"] == len(rules.RULES) == 11


@functools.cache
def trained(name, **changes):
    source = small_data("neuron")
    model = small_method(name, **changes)
    budget = fit.Budget(epochs=3, batch=16, precision="float32", valid_every=0)
    return fit.fit(model, source.train, budget).eval(), source


def test_what_is_learned_is_better_than_chance_on_the_training_nodes():
    model, source = trained("neuronqc", lr=5e-3)
    batch = source.train.__getitems__(range(0, len(source.train), 3))
    with torch.inference_mode():
        score = model.predict(batch)["score"].flatten()
    label = batch["onset"].flatten()
    assert score[label == 1].mean() > score[label == 0].mean() + 0.1


def test_the_command_line_knows_the_method():
    assert neuronqc.RIVALS == ("rulescore",) and neuronqc.FLOORS == ("chance",)
    arms = study.arms_of("neuronqc")
    assert {"neuronqc", "image_only", "trace_only", "mip", "two_scales", "branch", "rulescore", "chance"} <= set(arms)
    for claim in CLAIMS:
        assert {claim.other or "neuronqc", claim.arm or "neuronqc"} <= set(arms)
