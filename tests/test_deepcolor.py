"""Deep colorization: the modules' sizes and numbers of weights, what each stage may change, and how stages follow."""

import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from safetensors.torch import save_file
from scipy.stats import rankdata
from torch import nn

from workbench import data, fit, method, study
from workbench.baselines.gradhist import GradHist, grey_shares, histograms
from workbench.data.radiograph import policies
from workbench.errors import InvalidParameter
from workbench.fit import Budget
from workbench.methods.deepcolor import ABLATIONS, LEARNING, PAPER, Config, DeepColor, colorizer, jet, trunk
from workbench.models.findings import both_parts, known_bce, pooled, scores
from workbench.study import Arm, Study, Task, arms_of

MODULES = ("pixelshuffle", "deconv", "resize", "coloru", "de2co", "affine")


def paper(name: str) -> nn.Module:
    return colorizer(Config(colorizer=name, width=64, blocks=8, u_width=16))


def weights(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def batch_of(count: int = 4) -> dict[str, torch.Tensor]:
    return small_data("radiograph").train.__getitems__(range(count))


def stepped(model: method.Method, steps: int = 3) -> method.Method:
    """After a few steps in training mode, as the loop takes them."""
    return fit.fit(model, small_data("radiograph").train, Budget(**(FLOAT32.__dict__ | {"epochs": steps, "batch": 8})))


def changed(model: method.Method, before: dict[str, torch.Tensor]) -> set[str]:
    """The parts of which anything, weights or batch statistics, is no longer what it was."""
    return {key.split(".")[0] for key, value in model.state_dict().items() if not torch.equal(value, before[key])}


def state(model: method.Method) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


# ---------------------------------------------------------------- the modules


@pytest.mark.parametrize(("name", "count"), [("deconv", 596_611), ("pixelshuffle", 599_440), ("coloru", 192_659)])
def test_modules_have_the_published_numbers_of_weights(name, count):
    assert weights(paper(name)) == count
    assert weights(paper("affine")) == 6 and weights(paper("jet")) == weights(paper("repeat")) == 0
    assert weights(paper("de2co")) == 596_611 - 3 * 8 * 8, "deconv without the upsampling that learns"


def test_ancestor_halves_with_a_padding_of_3_and_enlarges_by_fixed_bilinear_weights():
    """224 -> 112 -> 56; each pixel of a ramp is where linear interpolation between the centres has it."""
    net = paper("de2co")
    assert net[0][0].padding == (3, 3) and sum(isinstance(part, nn.Conv2d) for part in net[0].modules()) == 17
    with torch.inference_mode():
        assert net[0][0](torch.zeros(1, 1, 224, 224)).shape[-1] == 112
    assert not list(net[2].parameters()) and set(net[2].state_dict()) == {"weight"}
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    expected = (torch.arange(24.0) - 1.5) / 4
    torch.testing.assert_close(net[2](ramp)[0, 1, 12, 2:-2], expected[2:-2])
    torch.testing.assert_close(net[2](torch.ones(1, 3, 6, 6))[..., 2:-2, 2:-2], torch.ones(1, 3, 20, 20))


def test_sides_of_the_trunk_are_224_111_56_224():
    net, image = paper("pixelshuffle").eval(), torch.rand(1, 1, 224, 224)
    sides = []
    parts = [net[0][0], net[0][3], net[0], net[4], net]
    handles = [part.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1])) for part in parts]
    with torch.inference_mode():
        net(image)
    for handle in handles:
        handle.remove()
    assert sides == [111, 56, 56, 224, 224]


@pytest.mark.parametrize("side", [32, 48, 64, 224])
@pytest.mark.parametrize("name", (*MODULES, "jet", "repeat"))
def test_output_has_three_channels_at_the_size_of_the_image(name, side):
    net = colorizer(Config(colorizer=name)).eval()
    with torch.inference_mode():
        assert net(torch.rand(2, 1, side, side)).shape == (2, 3, side, side)


def test_pixelshuffle_begins_constant_over_blocks_of_4_x_4_pixels():
    """In training mode, before the blur: batch norm takes off what biases add, so the 16 equal filters stay equal."""
    net = paper("pixelshuffle").train()
    image = torch.randn(2, 1, 64, 64)
    shuffled = net[:5](image)
    blocks = shuffled.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert (blocks.amax(-1) - blocks.amin(-1)).max() < 1e-4
    assert blocks.std() > 0.1, "not constant as a whole"
    assert not torch.allclose(net[0:1](image)[:, :1], net[0:1](image)[:, 1:2])


def test_blur_of_pixelshuffle_keeps_place_and_constants():
    blur = paper("pixelshuffle")[5:]
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 3, 5] = 4
    out = blur(image)[0, 0]
    assert {tuple(i) for i in out.nonzero().tolist()} == {(3, 5), (3, 6), (4, 5), (4, 6)} and out.max() == 1
    assert torch.equal(blur(torch.ones(1, 3, 8, 8)), torch.ones(1, 3, 8, 8))


def test_trunk_adds_each_block_to_what_comes_in():
    net = trunk(8, 2).eval()
    for block in (net[4], net[5]):
        for part in block.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.zeros_(part.weight)
    image = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(net(image), net[:4](image))


def test_deconv_has_one_filter_a_channel_without_bias_and_xavier_weights():
    net = paper("deconv")
    assert net[2].weight.shape == (3, 1, 8, 8) and net[2].bias is None and net[2].groups == 3
    bound = math.sqrt(6 / (64 * 9 + 64 * 9))
    values = net[0][4].body[0].weight.detach()
    assert values.abs().max() <= bound and values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_affine_begins_as_grey_three_times_and_fixed_maps_learn_nothing():
    image = torch.randn(2, 1, 8, 8)
    expected = image.expand(-1, 3, -1, -1)
    assert torch.equal(colorizer(Config(colorizer="affine"))(image), expected)
    assert torch.equal(colorizer(Config(colorizer="repeat"))(image), expected)
    color = torch.randn(2, 3, 8, 8)
    assert colorizer(Config(colorizer="repeat", channels=3))(color) is color


def test_jet_is_taken_of_the_grey_value_itself():
    grey = torch.linspace(0, 1, 9).view(1, 1, 3, 3)
    c = Config(colorizer="jet")
    shown = colorizer(c)((grey - c.mean) / c.std) * c.std + c.mean
    torch.testing.assert_close(shown, jet(grey))
    points = jet(torch.tensor([1 / 8, 3 / 8, 5 / 8, 7 / 8]).view(4, 1, 1, 1)).flatten(1)
    assert points.tolist() == [[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]


def test_colours_are_not_squashed():
    """Neither figure nor code bounds them: a stronger last layer gives as much more."""
    net = colorizer(Config(colorizer="coloru")).eval()
    image = torch.rand(1, 1, 32, 32)
    before = net(image)
    with torch.no_grad():
        net.out[-1].weight *= 100
        net.out[-1].bias *= 100
    torch.testing.assert_close(net(image), 100 * before)


def test_modules_are_for_grey_images():
    with pytest.raises(InvalidParameter, match="repeat for images in colour"):
        small_method("deepcolor", channels=3)


# ---------------------------------------------------------------- what may change


@pytest.mark.parametrize("freeze", LEARNING)
def test_exactly_the_parts_that_learn_change(freeze):
    """Weights and batch statistics alike."""
    model = small_method("deepcolor", freeze=freeze)
    before = state(model)
    assert changed(stepped(model), before) == set(LEARNING[freeze])
    assert bool(model.optimizers()) == (freeze != "all")


@pytest.mark.parametrize("name", ("pixelshuffle", "deconv", "coloru", "de2co", "affine"))
def test_first_stage_leaves_the_backbone_and_its_batch_statistics(name):
    model = small_method("deepcolor", **ABLATIONS["stage1"] | {"colorizer": name})
    before = state(model)
    stepped(model)
    assert changed(model, before) == {"colorizer", "head"}
    assert any("running_mean" in key and key.startswith("backbone") for key in before)


def test_frozen_batch_statistics_drift_only_where_asked():
    model = small_method("deepcolor", **ABLATIONS["drift"])
    before = state(model)
    stepped(model)
    moved = {
        key for key, v in model.state_dict().items() if key.startswith("backbone") and not torch.equal(v, before[key])
    }
    assert moved and all(key.endswith(("running_mean", "running_var", "num_batches_tracked")) for key in moved)


def test_frozen_parts_stay_in_evaluation_mode_and_the_others_train():
    model = small_method("deepcolor", freeze="backbone").train()
    assert model.training and model.head.training and model.colorizer.training and not model.backbone.training
    assert not model.backbone.net[1].training
    assert small_method("deepcolor").train().backbone.training


def test_gradient_reaches_the_module_through_a_frozen_backbone():
    model = small_method("deepcolor", freeze="backbone").train()
    ((_, loss, _),) = model.updates(batch_of())
    loss.backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.colorizer.parameters())


def test_rates_follow_what_learns():
    def rate(**change):
        rates = {"lr": 1e-4, "first_lr": 1e-3, "head_lr": 1e-2}
        return small_method("deepcolor", **rates | change).optimizers()["classifier"].param_groups[0]["lr"]

    assert (rate(), rate(freeze="module"), rate(freeze="backbone"), rate(freeze="backbone_head")) == (
        1e-4,
        1e-4,
        1e-3,
        1e-3,
    )
    assert rate(freeze="all_but_head") == rate(freeze="backbone", colorizer="jet") == 1e-2


def test_image_is_normalised_before_the_module_and_not_after():
    model = small_method("deepcolor", colorizer="affine").eval()
    image = batch_of()["image"]
    _, color, features = model(image)
    torch.testing.assert_close(color[:, :1], (image - 0.5028) / 0.2902)
    torch.testing.assert_close(features, model.backbone(color))


def test_loss_is_the_entropy_of_what_is_known_and_has_no_colour_term():
    model, batch = small_method("deepcolor").eval(), batch_of()
    batch["known"][:, 0] = 0
    ((name, loss, logs),) = model.updates(batch)
    chosen = model(batch["image"])[0][:, 1:], batch["label"][:, 1:]
    torch.testing.assert_close(loss, nn.functional.binary_cross_entropy_with_logits(*chosen))
    batch["label"][:, 0] = 1 - batch["label"][:, 0]
    assert next(model.updates(batch))[1] == loss and name == "classifier" and not logs


def test_unknown_labels_give_no_gradient_and_none_known_no_loss():
    logits = torch.randn(3, 2, requires_grad=True)
    known = torch.tensor([[1.0, 0], [0, 0], [1, 1]])
    known_bce(logits, torch.ones(3, 2), known).backward()
    assert torch.equal(logits.grad != 0, known > 0)
    assert known_bce(logits, torch.ones(3, 2), torch.zeros(3, 2)) == 0


def test_shown_colours_are_scaled_by_image():
    model, batch = small_method("deepcolor").eval(), batch_of()
    with torch.inference_mode():
        color = model.predict(batch)["color"]
    assert torch.equal(color.flatten(1).amin(1), torch.zeros(4)) and (color.flatten(1).amax(1) - 1).abs().max() < 1e-6


# ---------------------------------------------------------------- scores


def roc_area(score, label):
    """By ranks, independent of the code under test."""
    ranks, yes = rankdata(score), label > 0.5
    return (ranks[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum())


def test_mean_area_is_that_of_ranks_where_labels_are_unknown_and_scores_tie():
    torch.manual_seed(0)
    score = (torch.rand(60, 3) * 8).round() / 8
    label, known = (torch.rand(60, 3) < 0.3).float(), (torch.rand(60, 3) < 0.8).float()
    names = ["a", "b", "c"]
    found = pooled(scores({"label": label, "known": known}, score, names), names)
    areas = [roc_area(score[known[:, i] > 0, i].numpy(), label[known[:, i] > 0, i].numpy()) for i in range(3)]
    for name, area in zip(names, areas, strict=True):
        assert found[f"auc_{name}"].nanmean().item() == pytest.approx(area, abs=1e-6)
    assert not found["auc"].isnan().any()
    assert found["auc"].mean().item() == pytest.approx(sum(areas) / 3, abs=1e-6)


def test_a_finding_without_two_kinds_is_left_out_of_the_mean():
    score, label = torch.rand(20, 2), torch.zeros(20, 2)
    label[:7, 0] = 1
    names = ["a", "b"]
    found = pooled(scores({"label": label, "known": torch.ones(20, 2)}, score, names), names)
    assert found["auc_b"].isnan().all()
    assert found["auc"].mean().item() == pytest.approx(found["auc_a"].nanmean().item(), abs=1e-6)
    none = pooled(scores({"label": torch.zeros(4, 2), "known": torch.ones(4, 2)}, torch.rand(4, 2), names), names)
    assert none["auc"].isnan().all()
    assert both_parts(torch.rand(4), torch.full((4,), torch.nan)).isnan().all()


def test_accuracy_and_top1_by_hand():
    batch = {
        "label": torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        "known": torch.tensor([[1.0, 1, 0], [1, 1, 1], [0, 0, 0]]),
    }
    score = torch.tensor([[0.9, 0.6, 0.1], [0.1, 0.2, 0.7], [0.3, 0.2, 0.1]])
    found = scores(batch, score, ["a", "b", "c"])
    assert found["accuracy"][:2].tolist() == pytest.approx([1 / 2, 2 / 3]) and found["accuracy"][2].isnan()
    assert found["top1"][0] == 1 and found["top1"][1:].isnan().all()
    assert found["label_c"][0].isnan() and found["label_c"][1] == 0 and found["score_b"][0] == pytest.approx(0.6)


# ---------------------------------------------------------------- stages


OPTIONS = {"source": "materials", "size": 32, "train": 24, "labelled": 12, "valid": 4, "test": 6}
SMALL = {"width": 4, "blocks": 1, "u_width": 2, "base": 2, "natural_images": 16, "natural_epochs": 1, "first_epochs": 1}
QUICK = {"epochs": 1, "batch": 8, "valid_every": 0, "precision": "float32"}


def task(**change) -> Task:
    changes = {key: value for key, value in change.items() if key != "site"}
    options = {"site": change["site"]} if "site" in change else {}
    return Task("x", Arm("deepcolor", SMALL | changes, QUICK, options), "radiograph", OPTIONS, 0, None)


def chain(one: Task) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Start, what is frozen, the data and what is taken from the stage before: of a training and of all before it."""
    found = [(one.config.start, one.config.freeze, one.data.name, one.stage[1])]
    return found + (chain(one.before) if one.before else [])


def test_stages_follow_from_the_settings():
    taken = ("colorizer.", "backbone.")
    natural = ("scratch", "nothing", "natural", ())
    first = ("natural", "backbone", "materials-a", ("backbone.",))
    assert chain(task()) == [("first_stage", "nothing", "materials-a", (*taken, "head.")), first, natural]
    assert chain(task(**ABLATIONS["stage1"])) == [first, natural]
    assert chain(task(**ABLATIONS["transfer"])) == [
        ("other_site", "all_but_head", "materials-b", taken),
        first,
        natural,
    ]
    assert [one.name for one in (task().before, task().before.before)] == ["pixelshuffle_stage1", "natural"]
    assert chain(task(**ABLATIONS["scratch"])) == [
        ("scratch_stage", "nothing", "materials-a", (*taken, "head.")),
        ("scratch", "nothing", "materials-a", ()),
    ]
    assert task(**ABLATIONS["scratch"]).before.budget == task(**ABLATIONS["scratch"]).budget, "as long as two stages"
    assert task(first_epochs=7).before.budget.epochs == 7 and task().before.budget.epochs == QUICK["epochs"]
    assert chain(task(start="scratch", freeze="backbone")) == [("scratch", "backbone", "materials-a", ())]
    assert chain(task(**ABLATIONS["stage1"], weights="x.pt")) == [("natural", "backbone", "materials-a", ())]
    assert chain(task(colorizer="jet"))[0][3] == ("backbone.", "head."), "a fixed map has no weights"


def test_arms_share_their_stages():
    """One run on natural images for all; the first stage of an arm is the arm that stops there."""
    arms = arms_of("deepcolor", ("ablations",), change=SMALL)
    one = Study(arms, options=OPTIONS, budget=QUICK)
    tasks = {t.name: t for t in one.tasks()}
    assert tasks["deepcolor"].before.id == tasks["stage1"].id == tasks["transfer"].before.id
    assert tasks["greyscale"].before.id == tasks["greyscale_probe"].id
    bottoms = {chain_end(t).id for name, t in tasks.items() if name not in ("scratch", "random_frozen")}
    assert len(bottoms) == 1 and chain_end(tasks["deepcolor"]).data.name == "natural"
    assert tasks["transfer"].data.name == "materials-b"


@pytest.mark.parametrize("labelled", [16, 20, 24])
def test_natural_stage_is_shared_by_all_numbers_of_labels_and_their_budgets(labelled):
    """16, 64 and 256 labels a class need other numbers of epochs for as many steps, and other looks at validation."""
    arms = arms_of("deepcolor", ("greyscale",), change=SMALL)
    few = Study(arms, options=OPTIONS, budget=QUICK)
    budget = QUICK | {"epochs": labelled, "valid_every": 3, "best": "auc", "patience": 2}
    more = Study(arms, options=OPTIONS | {"labelled": labelled}, budget=budget)
    assert {chain_end(t).id for t in few.tasks()} == {chain_end(t).id for t in more.tasks()}
    assert {t.id for t in few.tasks()}.isdisjoint({t.id for t in more.tasks()})
    assert chain_end(more.tasks()[0]).budget.best == "" and more.tasks()[0].before.budget.best == "auc"


def chain_end(one: Task) -> Task:
    return chain_end(one.before) if one.before else one


def test_weights_go_from_stage_to_stage(tmp_path, monkeypatch):
    """With rates of almost nothing, what is taken over is what the last stage has; the head of 8 classes is not."""
    starts, train = [], fit.fit

    def watched(model, *rest, **named):
        starts.append((model.config.start, model.config.freeze, state(model)))
        done = train(model, *rest, **named)
        starts.append((model.config.start, model.config.freeze, state(model)))
        return done

    monkeypatch.setattr(fit, "fit", watched)
    names = ("stage1", "transfer", "transfer_random")
    dealt = {name: study.settings("deepcolor", ABLATIONS.get(name, {})) for name in ("main", *names)}
    arms = {name: Arm("deepcolor", SMALL | own, QUICK, options) for name, (own, _, options) in dealt.items()}
    one = Study(arms, options=OPTIONS, root=tmp_path).run()
    assert len(starts) == 2 * 5, "natural, first, second, transfer, random: each once"
    natural, first, second, transfer, random = [(starts[i], starts[i + 1]) for i in range(0, 10, 2)]

    def same(one, other, part):
        keys = [key for key in one if key.startswith(part)]
        return bool(keys) and all(torch.equal(one[key], other[key]) for key in keys)

    assert same(natural[1][2], first[0][2], "backbone.") and same(first[0][2], first[1][2], "backbone.")
    for part in ("colorizer.", "backbone.", "head."):
        assert same(first[1][2], second[0][2], part) and not same(second[0][2], second[1][2], part)
    for part in ("colorizer.", "backbone."):
        assert same(first[1][2], transfer[0][2], part) and same(transfer[0][2], transfer[1][2], part)
    assert not same(transfer[0][2], transfer[1][2], "head.") and not same(first[1][2], transfer[0][2], "head.")
    assert same(random[0][2], random[1][2], "colorizer.") and not same(random[0][2], first[1][2], "colorizer.")
    assert {"auc", "accuracy", "auc_fluid"} <= set(one.scores) and one.table().shape == (4, 2)
    assert (one.scores["arm"] == "main").sum() == OPTIONS["test"]


def test_backbone_takes_its_weights_from_a_file_before_training(tmp_path):
    torch.manual_seed(5)
    source = DeepColor(Config(base=2)).backbone
    save_file(source.net.state_dict(), tmp_path / "photographs.safetensors")
    named = {"weights": str(tmp_path / "photographs.safetensors"), "base": 2, "start": "natural"}
    model = small_method("deepcolor", **named)
    kept = state(model)
    model.begin()
    assert all(
        torch.equal(value, source.net.state_dict()[key]) for key, value in model.backbone.net.state_dict().items()
    )
    later = small_method("deepcolor", **named | {"start": "first_stage"})
    later.begin()
    assert all(torch.equal(value, kept[key]) for key, value in later.state_dict().items()), "taken from the first stage"
    with pytest.raises(InvalidParameter, match="nothing was loaded"):
        small_method("deepcolor", **named | {"base": 4}).begin()


def test_every_ablation_changes_the_network_its_training_or_its_data():
    module = method.module("deepcolor")
    arms = arms_of("deepcolor", ("ablations",))
    seen = [(str(sorted(arm.config.items())), str(arm.budget), str(arm.data)) for arm in arms.values()]
    assert len(set(seen)) == len(seen) == len(ABLATIONS) + 1
    named = {claim.arm for claim in module.CLAIMS} | {claim.other for claim in module.CLAIMS}
    assert named <= {None, *ABLATIONS, *module.FLOORS}
    assert len([claim for claim in module.CLAIMS if claim.kind == "must"]) == 4


def test_paper_scale_asks_for_a_file_of_weights_and_downloads_nothing():
    settings, budget, options = study.settings("deepcolor", PAPER)
    assert budget["best"] == "auc" and budget["patience"]
    assert policies(options["uncertain"]) == {"": "zeros", "Atelectasis": "ones", "Edema": "ones"}
    model = DeepColor(Config(**settings, start="natural"))
    with pytest.raises(InvalidParameter, match=r"weights: expected a file, found none at densenet121\.safetensors"):
        model.begin()


def test_paper_scale_builds():
    values = {key: value for key, value in PAPER.items() if hasattr(Config, key)}
    model = DeepColor(Config(**values)).eval()
    assert model.head.weight.shape == (5, 1024) and weights(model.colorizer) == 599_440
    with torch.inference_mode():
        assert model.predict({"image": torch.rand(1, 1, 64, 64)})["score"].shape == (1, 5)


@pytest.mark.parametrize("name", ["deepcolor", "gradhist"])
def test_a_few_images_are_learned_by_heart(name):
    source = data.open_data("radiograph", source="materials", size=32, train=16, valid=4, test=4)
    change = {"lr": 3e-3, "base": 8, "width": 8} if name == "deepcolor" else {"decay": 0.0, "greys": 16, "lr": 3e-2}
    model = small_method(name, labels=source.spec["labels"], **change)
    budget = Budget(epochs=60, batch=16, valid_every=0, precision="float32", channels_last=False)
    fit.fit(model, source.train, budget)
    found = fit.gathered(model, [score for *_, score in fit.evaluate(model, source.train)])
    assert found["auc"].mean() > 0.95


# ---------------------------------------------------------------- the floor


def test_directions_of_stripes_and_edges():
    x = torch.arange(32.0)
    upright = torch.sin(x * 0.8).expand(32, 32)[None, None]
    bins = histograms(upright, 4, 8).view(8, 4, 4)
    assert (bins[0] > 0.95).all() and bins[1:].abs().max() < 0.05, "gradients run along x: direction 0"
    lying = histograms(upright.mT, 4, 8).view(8, 4, 4)
    assert (lying[4] > 0.95).all()
    diagonal = torch.sin((x[:, None] + x[None]) * 0.5)[None, None]
    assert histograms(diagonal, 1, 8).argmax() == 2
    assert histograms(torch.full((1, 1, 32, 32), 0.3), 4, 8).abs().max() == 0


def test_gain_hardly_matters_and_the_greys_are_counted():
    image = batch_of()["image"]
    first, second = histograms(image, 4, 8), histograms(0.7 * image, 4, 8)
    assert (first - second).abs().max() < 0.25 * first.max()
    shares = grey_shares(torch.tensor([0.0, 0.2, 0.5, 1.0]).view(1, 1, 2, 2), 4)
    assert shares.tolist() == [[0.5, 0, 0.25, 0.25]]
    assert GradHist(GradHist.Config(greys=5, cells=2, bins=3)).linear.in_features == 17
