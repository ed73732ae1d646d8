"""Cross-denoising against its card: who learns from whom, what is believed, what is never looked at, every ablation."""

import itertools

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from torch import nn
from torch.nn import functional as F

from workbench import data, fit, study
from workbench.losses.noisy import noise_tolerant
from workbench.method import Stream
from workbench.methods import crossdenoise
from workbench.methods.crossdenoise import class_weights, cross_loss, decided, kept_by_class, most_confident
from workbench.models.cupdisc import to_label, to_maps, turned

LATE = 50  # an epoch after every ramp and warm-up
QUIET = {"cross_weight": 0.0, "adv_weight": 0.0}


def make(epoch=1, **changes):
    model = small_method("crossdenoise", **changes)
    model.epoch, model.stream = epoch, Stream(0)
    return model


def batch_of(count=4):
    return small_data("fundus").train.__getitems__(range(count))


def drive(model, batch, seed=0):
    """One batch as the loop does it; yields the side and its logs after its step and before the body resumes."""
    optimizers, model.stream = model.optimizers(), Stream(seed)
    for side, loss, logs in model.updates(batch):
        optimizers[side].zero_grad()
        weights = [p for group in optimizers[side].param_groups for p in group["params"]]
        torch.autograd.backward(loss, inputs=weights)
        optimizers[side].step()
        yield side, logs


def weights_of(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def after(model, batch, seed=0):
    """All weights after one step on a batch."""
    list(drive(model, batch, seed))
    return weights_of(model)


class Spy(nn.Module):
    """A network that keeps what it is shown while it learns."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, image):
        if torch.is_grad_enabled():
            self.seen.append(image.detach())
        return self.net(image)


class Pixels(nn.Module):
    """A network that decides each pixel from its own colours: cup from the first channel, disc from the second."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(20.0))

    def forward(self, image):
        return self.slope * (image[:, :2] - 0.5)


def spied(**changes):
    model = make(**changes)
    model.net_a, model.net_b = Spy(model.net_a), Spy(model.net_b)
    return model


def marked(count=4):
    """A batch whose images are told apart by their brightness, however they are turned."""
    batch = batch_of(count)
    return batch | {"image": torch.arange(1.0, count + 1).view(-1, 1, 1, 1).expand(-1, 3, 32, 32) / 10}


def told(images):
    """The places of marked images."""
    return [round(10 * value) - 1 for value in images.mean((1, 2, 3)).tolist()]


def colored(label, noise=0.0):
    """Images (B, 3, H, W) that `Pixels` segments as the label map (B, 1, H, W)."""
    maps = to_maps(label)
    return torch.cat([0.1 + 0.8 * maps, maps[:, :1]], 1) + noise


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize(("epoch", "kept"), [(1, 1.0), (2, 0.9), (3, 0.8), (5, 0.6), (6, 0.6), (90, 0.6)])
def test_share_that_is_kept_follows_the_epoch(epoch, kept):
    assert make(epoch, tau=0.4, ramp=4).remembered == pytest.approx(kept)


def test_share_that_is_kept_at_paper_scale():
    paper = {key: crossdenoise.PAPER[key] for key in ("ramp", "warm_up", "alpha_epochs")}
    values = [make(epoch, tau=0.5, **paper).remembered for epoch in (1, 6, 11, 200)]
    assert values == pytest.approx([1.0, 0.75, 0.5, 0.5])
    assert [make(epoch, **paper).alpha for epoch in (6, 11, 16, 200)] == pytest.approx([0.2, 0.35, 0.5, 0.5])


@pytest.mark.parametrize(("epoch", "alpha"), [(4, 0.2), (5, 0.275), (8, 0.5), (60, 0.5)])
def test_share_of_pixels_rises_after_the_warm_up(epoch, alpha):
    assert make(epoch, warm_up=3, alpha_epochs=4).alpha == pytest.approx(alpha)


def test_the_loop_moves_the_schedules():
    model, seen = make(tau=0.5, ramp=2), []
    budget = fit.Budget(**{**vars(FLOAT32), "epochs": 4, "batch": 8})
    fit.fit(model, small_data("fundus").train, budget, watch=lambda _: seen.append(model.remembered))
    assert seen == pytest.approx([1.0, 0.75, 0.5, 0.5])


# ---------------------------------------------------------------- selection


@pytest.mark.parametrize("exchange", [True, False])
def test_each_peer_learns_from_the_choice_of_the_other(exchange, monkeypatch):
    model = spied(exchange=exchange, **QUIET)
    choice = {"a": torch.tensor([0, 3]), "b": torch.tensor([1])}
    monkeypatch.setattr(model, "choose", lambda peer, *_: choice[peer])
    list(drive(model, marked()))
    learnt = {"a": told(model.net_a.seen[-1]), "b": told(model.net_b.seen[-1])}
    assert learnt == ({"a": [1], "b": [0, 3]} if exchange else {"a": [0, 3], "b": [1]})


def test_labels_go_with_the_images_that_were_chosen(monkeypatch):
    model, batch, seen = make(**QUIET), batch_of(), []
    batch["label"] = torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 32, 32) % 3
    monkeypatch.setattr(model, "choose", lambda *_: torch.tensor([2, 1]))
    monkeypatch.setattr(
        crossdenoise, "noise_tolerant", lambda z, y, *rest: seen.append(y) or noise_tolerant(z, y, *rest)
    )
    list(drive(model, batch))
    assert all(torch.equal(y, to_maps(batch["label"])[[2, 1]]) for y in seen) and len(seen) == 2


@pytest.mark.parametrize("rank", ["pixels", "all"])
@pytest.mark.parametrize("peer", ["a", "b"])
def test_choice_is_the_smallest_of_the_own_loss(rank, peer):
    model, batch = make(LATE, rank=rank), batch_of(8)
    target = to_maps(batch["label"])
    with torch.no_grad():
        logits = model.eval().net(peer)(batch["image"])
    p = logits.sigmoid()
    gce = ((1 - torch.where(target > 0, p, 1 - p) ** 0.7) / 0.7).mean((1, 2, 3))
    dice = (((p - target).abs() ** 1.5).sum((2, 3)) / (p + target).sum((2, 3))).mean(1)
    losses = gce if rank == "pixels" else gce + dice
    found = model.choose(peer, batch["image"], target)
    assert sorted(found.tolist()) == losses.argsort()[:4].sort().values.tolist()


@pytest.mark.parametrize("rank", ["pixels", "all"])
def test_wrong_labels_are_not_chosen_by_who_knows_better(rank):
    model, batch = make(LATE, rank=rank), batch_of(8)
    wrong = torch.tensor([1, 2, 5, 7])
    model.net_a, label = Pixels(), batch["clean"].clone()
    label[wrong] = label[wrong].roll(4, 3)
    assert sorted(model.choose("a", colored(batch["clean"]), to_maps(label)).tolist()) == [0, 3, 4, 6]


def test_peers_choose_before_either_learns(monkeypatch):
    model, batch = make(LATE), batch_of()
    asked, choose, pseudo = [], model.choose, model.pseudo
    monkeypatch.setattr(model, "choose", lambda *given: asked.append("choose") or choose(*given))
    monkeypatch.setattr(model, "pseudo", lambda *given: asked.append("pseudo") or pseudo(*given))
    counts = [len(asked) for _ in drive(model, batch)]
    assert counts == [4, 4, 4, 4] and asked == ["choose"] * 2 + ["pseudo"] * 2


def test_choosing_leaves_no_trace():
    model, batch = make(LATE).train(), batch_of()
    assert not model.choose("a", batch["image"], to_maps(batch["label"])).requires_grad
    label, kept = model.pseudo("a", batch["target"])
    assert not label.requires_grad and not kept.requires_grad
    assert model.net_a.training and all(p.grad is None for p in model.parameters())


def test_pixels_are_chosen_where_asked_and_turned_with_their_image(monkeypatch):
    model, batch = make(LATE, selection="pixel", tau=0.25, **QUIET), batch_of()
    target = to_maps(batch["label"])
    mask = model.choose("a", batch["image"], target)
    assert mask.shape == (4, 1, 32, 32) and mask.float().mean().item() == pytest.approx(0.75, abs=0.01)
    found = model.ask("a", batch["image"]).sigmoid()
    loss = ((1 - torch.where(target > 0, found, 1 - found) ** 0.7) / 0.7).mean(1)
    assert loss[mask[:, 0]].max() <= loss[~mask[:, 0]].min() + 1e-6
    model.net_a, seen = Pixels(), []
    monkeypatch.setattr(crossdenoise, "noise_tolerant", lambda *given: seen.append(given) or noise_tolerant(*given))
    inside = batch["label"] == 2
    model.learn("a", colored(batch["label"]), target, inside)
    logits, maps, *_, weight = seen[0]
    assert torch.equal(weight, maps[:, :1]) and torch.equal(logits > 0, maps > 0.5)
    assert not torch.equal(weight, inside.float())


def test_parts_of_a_batch_choose_for_themselves(monkeypatch):
    model, sizes = make(LATE, tau=0.5), []
    monkeypatch.setattr(crossdenoise, "smallest", lambda losses, share: sizes.append(len(losses)) or torch.tensor([0]))
    budget = fit.Budget(**{**vars(FLOAT32), "epochs": 1, "batch": 8, "accumulate": 2})
    fit.fit(model, small_data("fundus").train, budget)
    assert sizes == [4, 4, 4, 4]


# ---------------------------------------------------------------- cross learning


def test_decisions_and_confidence_by_hand():
    cup, disc = torch.tensor([3.0, -1.0, 5.0, -2.0]), torch.tensor([2.0, 4.0, -0.5, -6.0])
    maps, confidence = decided(torch.stack([cup, disc]).view(1, 2, 2, 2))
    assert maps.flatten(2)[0].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert confidence.flatten(2)[0].tolist() == [[3.0, 1.0, -5.0, 2.0], [2.0, 4.0, 0.5, 6.0]]


def scene():
    """Maps and confidence of 100 pixels: 8 of the cup less sure than those outside it, 20 of the disc than all."""
    cup, disc = (torch.arange(100) >= start for start in (92, 80))
    sure = torch.arange(100.0)
    confidence = torch.stack([torch.where(cup, sure - 91, sure + 200), torch.where(disc, sure - 79, sure + 300)])
    return torch.stack([cup, disc]).float().view(1, 2, 10, 10), confidence.view(1, 2, 10, 10)


def test_every_class_keeps_its_most_confident_share():
    maps, confidence = scene()
    kept = kept_by_class(maps, confidence, 0.25)
    assert [int(kept[:, n][maps[:, n] == value].sum()) for n in range(2) for value in (0, 1)] == [23, 2, 20, 5]
    assert confidence[:, 0][kept[:, 0] & (maps[:, 0] > 0)].tolist() == [7.0, 8.0]
    assert confidence[:, 1][kept[:, 1] & (maps[:, 1] == 0)].tolist() == [360.0 + n for n in range(20)]


def test_surest_pixels_of_the_disc_are_its_own_and_not_those_furthest_from_the_cup():
    """What made the disc grow: a rim's pixel counted as sure where it was surely no cup, though hardly of the disc."""
    logits = torch.tensor([[6.0, 6.0, -9.0, -9.0], [9.0, 9.0, 1.0, 1.0]]).view(1, 2, 2, 2)
    kept = kept_by_class(*decided(logits), 0.5)
    assert kept[0, 1].flatten().tolist() == [True, True, False, False]


def test_one_threshold_swamps_the_cup():
    maps, confidence = scene()
    kept = most_confident(confidence, 0.25)
    assert kept.sum() == 50 and not maps[kept].any()


@pytest.mark.parametrize(("threshold", "cups"), [("class", 2), ("global", 0)])
def test_threshold_decides_what_is_kept_and_both_are_counted(threshold, cups, monkeypatch):
    model, (maps, confidence) = make(LATE, threshold=threshold, alpha_low=0.25, alpha_high=0.25), scene()
    monkeypatch.setattr(crossdenoise, "decided", lambda logits: (maps, confidence))
    found, kept = model.pseudo("a", torch.rand(1, 3, 32, 32))
    assert torch.equal(found, maps) and int(kept[:, 0][maps[:, 0] > 0].sum()) == cups
    assert kept.sum() == 50, "as many pixels either way"
    assert model.kept.tolist() == [0.25, 0.0, 1.0]


def test_class_weights_by_hand():
    maps, _ = scene()
    for limit, cup in ((100.0, 100 / 16), (3.0, 3.0)):
        expected = torch.where(maps[:, :1] > 0, cup, 100 / 184), torch.where(maps[:, 1:] > 0, 100 / 40, 100 / 160)
        torch.testing.assert_close(class_weights(maps, limit), torch.cat(expected, 1))
    assert class_weights(torch.zeros(1, 2, 2, 2), 5.0).unique().tolist() == [0.5]


def test_cross_loss_by_hand_and_ignored_pixels_have_no_gradient():
    maps = torch.tensor([[0, 0, 0, 1], [0, 0, 1, 1]]).view(1, 2, 2, 2).float()
    kept = torch.tensor([[True, False, True, True], [True, True, False, True]]).view(1, 2, 2, 2)
    logits = torch.randn(1, 2, 2, 2, requires_grad=True, generator=torch.Generator().manual_seed(0))
    found = cross_loss(logits, maps, kept, 5.0)
    p = logits.sigmoid()
    entropy = -(maps * p.log() + (1 - maps) * (1 - p).log())
    weight = torch.tensor([[2 / 3, 0, 2 / 3, 2], [1, 1, 0, 1]]).view(1, 2, 2, 2)
    expected = ((weight * entropy).sum((2, 3)) / weight.sum((2, 3))).mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert torch.equal(logits.grad != 0, kept)


def test_cross_loss_of_nothing_is_zero():
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = cross_loss(logits, torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bool), 5.0)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


@pytest.mark.parametrize("exchange", [True, False])
def test_each_peer_is_labelled_by_the_other(exchange, monkeypatch):
    model, batch, used = make(LATE, exchange=exchange), batch_of(), []
    kept = torch.ones(4, 2, 32, 32, dtype=torch.bool)
    said = {peer: (torch.full((4, 2, 32, 32), value), kept) for peer, value in (("a", 1), ("b", 2))}
    monkeypatch.setattr(model, "pseudo", lambda peer, _: said[peer])
    monkeypatch.setattr(crossdenoise, "cross_loss", lambda z, y, *rest: used.append(int(y.unique())) or z.sum() * 0)
    sides = [side for side, _ in drive(model, batch)]
    assert sides[:2] == ["a", "b"] and used == ([2, 1] if exchange else [1, 2])


def test_pseudo_labels_turn_with_their_image(monkeypatch):
    model, batch, seen = make(LATE, adv_weight=0.0), batch_of(), []
    model.net_a, model.net_b = Pixels(), Pixels()
    batch["target"] = colored(batch["clean"])
    monkeypatch.setattr(crossdenoise, "cross_loss", lambda z, y, kept, limit: seen.append((z, y)) or z.sum() * 0)
    list(model.updates(batch))
    assert len(seen) == 2 and all(torch.equal(decided(z)[0], y) for z, y in seen)
    assert not any(torch.equal(y, to_maps(batch["clean"])) for _, y in seen)


def test_no_cross_learning_before_the_warm_up_is_over():
    for epoch, there in ((3, False), (4, True)):
        names = {name for _, logs in drive(make(epoch, warm_up=3), batch_of()) for name in logs}
        assert ({"cross_a", "cross_b"} <= names) is there


@pytest.mark.parametrize("changes", [QUIET, {"adv_weight": 0.0, "warm_up": 60}])
def test_target_is_not_looked_at_without_need(changes):
    clean, poisoned = (make(LATE, **changes) for _ in range(2))
    batch = batch_of()
    broken = batch | {"target": torch.full_like(batch["target"], float("nan"))}
    assert torch.equal(after(clean, batch), after(poisoned, broken))


# ---------------------------------------------------------------- order, sides, discriminators


def test_order_of_updates_and_who_moves():
    model, parts = make(LATE), ("net_a", "net_b", "critic_a", "critic_b")
    states, sides = [[weights_of(getattr(model, part)) for part in parts]], []
    for side, _ in drive(model, batch_of()):
        sides.append(side)
        states.append([weights_of(getattr(model, part)) for part in parts])
    assert sides == ["a", "b", "critic_a", "critic_b"]
    moved = [[not torch.equal(x, y) for x, y in zip(*pair, strict=True)] for pair in itertools.pairwise(states)]
    assert moved == torch.eye(4, dtype=torch.bool).tolist()


def test_peers_start_apart_and_see_other_views():
    model = spied(**QUIET)
    assert not torch.equal(weights_of(model.net_a), weights_of(model.net_b))
    list(drive(model, batch_of(8)))
    assert not torch.equal(model.net_a.seen[-1], model.net_b.seen[-1])


def test_discriminators_are_shown_source_and_target_without_gradient():
    model, batch = spied(epoch=LATE), batch_of()
    model.critic_a, model.critic_b = Spy(model.critic_a), Spy(model.critic_b)
    list(model.updates(batch))
    for peer in "ab":
        source, target = model.net(peer).seen
        maps = [model.net(peer).net(image).sigmoid().detach() for image in (source, target)]
        shown = model.critic(peer).seen
        assert len(shown) == 3 and len(source) == 2, "two of four images are chosen"
        torch.testing.assert_close(shown, [maps[1], *maps])


def test_discriminators_learn_source_from_target(monkeypatch):
    seen = []
    monkeypatch.setattr(crossdenoise, "critic_loss", lambda *given: seen.append(given) or given[0].sum() * 0)
    model = make(LATE)
    model.critic_a, model.critic_b = Spy(model.critic_a), Spy(model.critic_b)
    list(model.updates(batch_of()))
    for (real, fake, kind), peer in zip(seen, "ab", strict=True):
        _, source, target = model.critic(peer).seen
        torch.testing.assert_close([real, fake], [model.critic(peer).net(maps) for maps in (source, target)])
        assert kind == "bce"


def test_adversarial_term_by_hand():
    model = make(adv_weight=3.0)
    model.critic_a = Spy(model.critic_a)
    _, _, logs = next(model.updates(batch_of()))
    logits = model.critic_a.net(model.critic_a.seen[0])
    expected = 3 * F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))
    torch.testing.assert_close(logs["adv_a"], expected.detach())


def test_loss_is_the_sum_of_its_terms():
    for side, loss, logs in itertools.islice(make(LATE).updates(batch_of()), 2):
        terms = [value for name, value in logs.items() if name in (f"nt_{side}", f"cross_{side}", f"adv_{side}")]
        assert len(terms) == 3
        torch.testing.assert_close(loss.detach(), sum(terms))


def test_weights_multiply_their_terms():
    for term, field in (("cross", "cross_weight"), ("adv", "adv_weight")):
        once, twice = (next(make(LATE, **{field: value}).updates(batch_of()))[2] for value in (0.3, 0.6))
        assert twice[f"{term}_a"].item() == pytest.approx(2 * once[f"{term}_a"].item(), rel=1e-5)
        assert once["nt_a"] == twice["nt_a"] > 0


# ---------------------------------------------------------------- what is never looked at


def test_training_holds_no_target_label():
    source = small_data("fundus")
    assert set(source.train.tensors) == {"image", "label", "clean", "noisy", "target", "spacing"}
    test = {image.numpy().tobytes() for image in source.test.tensors["image"]}
    assert not test & {image.numpy().tobytes() for key in ("image", "target") for image in source.train.tensors[key]}


def test_clean_labels_and_flags_teach_nothing():
    batch = batch_of()
    poison = {"clean": torch.full_like(batch["clean"], -1), "noisy": torch.full_like(batch["noisy"], float("nan"))}
    assert torch.equal(after(make(LATE), batch), after(make(LATE), batch | poison))


def test_target_labels_do_not_reach_training():
    source = data.open_data("fundus", size=32, train=8, valid=2, test=3)
    poisoned = data.open_data("fundus", size=32, train=8, valid=2, test=3)
    poisoned.test.tensors["label"] = torch.full((3, 1, 32, 32), float("nan"))
    budget = fit.Budget(**{**vars(FLOAT32), "epochs": 2})
    models = [fit.fit(make(), s.train, budget, valid=s.valid) for s in (source, poisoned)]
    assert torch.equal(*(weights_of(model) for model in models))


# ---------------------------------------------------------------- test output, scores, what is counted


def test_prediction_is_the_mean_of_both_peers():
    model, batch = make().eval(), batch_of()
    with torch.no_grad():
        found = model.predict(batch)
        mean = (model.net_a(batch["image"]).sigmoid() + model.net_b(batch["image"]).sigmoid()) / 2
    torch.testing.assert_close(found["score"], mean)
    assert torch.equal(found["mask"], to_label(mean)) and found["mask"].shape == (4, 1, 32, 32)


def test_scores_hold_each_peer_alone():
    model, label = make().eval(), batch_of()["clean"].long()
    model.net_a, model.net_b = Pixels(), Pixels()
    with torch.no_grad():
        model.net_b.slope.fill_(-1e-3)  # a peer that is wrong everywhere and hardly heard
        batch = {"image": colored(label), "label": label, "spacing": torch.ones(4, 2)}
        scores = model.score(batch, model.predict(batch))
    for name in ("dice", "dice_cup", "dice_disc", "dice_a"):
        assert scores[name].tolist() == [1.0] * 4
    assert scores["cdr"].tolist() == [0.0] * 4 and scores["dice_b"].max() < 0.5


def test_clean_share_is_counted_after_the_ramp_alone():
    batch = batch_of() | {"noisy": torch.tensor([1.0, 0.0, 1.0, 0.0])}
    chosen = {"a": torch.tensor([1, 3]), "b": torch.tensor([0, 1, 2, 3])}
    for epoch, expected in ((4, [0.0, 0.0, 0.0]), (5, [0.75, 0.5, 1.0])):
        model = make(epoch, ramp=4)
        assert model.count(chosen, batch["noisy"])["selected_clean"].item() == 0.75
        assert model.selected.tolist() == expected
    counted = model.counted()
    assert (counted["selected_clean"].item(), counted["selected_gain"].item()) == (0.75, 0.25)


def test_what_was_counted_is_scored_for_every_item_and_saved():
    model, batch = make().eval(), batch_of()
    with torch.no_grad():
        scores = model.score(batch, model.predict(batch))
        assert all(torch.isnan(scores[name]).all() for name in ("selected_clean", "cup_kept", "cup_gain"))
        model.kept.copy_(torch.tensor([0.8, 0.2, 2.0]))
        scores = model.score(batch, model.predict(batch))
    torch.testing.assert_close(scores["cup_gain"], torch.full((4,), 0.3))
    assert {"selected", "kept"} <= set(model.state_dict())


# ---------------------------------------------------------------- ablations and presets


def logs_of(**changes):
    return {name: value for _, logs in drive(make(LATE, **changes), batch_of()) for name, value in logs.items()}


def test_ablations_take_away_one_thing():
    whole = logs_of()
    assert {"nt_a", "cross_a", "adv_a", "selected_clean"} <= set(whole)
    assert set(whole) - set(logs_of(**crossdenoise.ABLATIONS["no_cross"])) == {"cross_a", "cross_b"}
    assert set(whole) - set(logs_of(**crossdenoise.ABLATIONS["no_adversarial"])) == {"adv_a", "adv_b"}
    assert make(**crossdenoise.ABLATIONS["no_adversarial"]).optimizers().keys() == {"a", "b"}
    assert make(LATE, **crossdenoise.ABLATIONS["no_selection"]).remembered == 1
    assert set(whole) - set(logs_of(**crossdenoise.ABLATIONS["pixel_selection"])) == {"selected_clean"}


def test_plain_losses_are_dice_and_cross_entropy(monkeypatch):
    model, batch, seen = make(**crossdenoise.ABLATIONS["ce_dice"], **QUIET), batch_of(), []
    monkeypatch.setattr(crossdenoise, "noise_tolerant", lambda *given: seen.append(given) or noise_tolerant(*given))
    _, loss, _ = next(model.updates(batch))
    logits, y = seen[-1][:2]
    p = logits.sigmoid()
    dice = 1 - 2 * (p * y).sum((2, 3)) / (p + y).sum((2, 3))
    torch.testing.assert_close(loss, dice.mean() + F.binary_cross_entropy_with_logits(logits, y))


@pytest.mark.parametrize("preset", ["tiny", "demo", "paper"])
def test_presets_and_claims_name_arms_and_metrics_that_there_are(preset):
    arms = study.arms_of("crossdenoise", ("rivals", "floors", "ablations", "variants"), preset=preset)
    named = {name for claim in crossdenoise.CLAIMS for name in (claim.arm, claim.other) if name}
    assert named <= set(arms)
    model, batch = make().eval(), batch_of()
    with torch.no_grad():
        metrics = set(model.score(batch, model.predict(batch)))
    assert {claim.metric for claim in crossdenoise.CLAIMS} | {name for _, name in crossdenoise.TABLE} <= metrics


def test_it_learns():
    model, batch = make(base=8, lr=1e-2, tau=0.0, warm_up=20), batch_of(8)
    optimizers = model.optimizers()
    for step in range(40):
        fit.step(model, optimizers, [batch], step, FLOAT32, bf16=False)
    model.eval()
    with torch.no_grad():
        scores = model.score(batch, model.predict(batch))
    assert scores["dice_disc"].mean() > 0.75


def test_views_of_a_step_belong_to_the_items():
    draw = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    image = batch_of(8)["image"]
    assert torch.equal(turned(image, draw)[2:4], turned(image[2:4], draw[2:4]))
