"""Rubik's cube recovery: permutations, cubes, turns, losses, heads, decoders, and how the stages follow."""

import math

import pytest
import torch
from conftest import FLOAT32, small_data, small_method
from safetensors.torch import save_file
from torch import Tensor

from workbench import data, fit, method, study
from workbench.baselines.majority import Majority, played
from workbench.errors import InvalidParameter
from workbench.fit import Budget
from workbench.methods import rubik
from workbench.methods.rubik import ABLATIONS, PAPER, Config, Rubik, mask_loss, order_loss, poses, rotation_loss
from workbench.models import cubes
from workbench.models.cubes import Rules, assembled, distances, normalised, permutation_set, puzzle, restored, taken
from workbench.models.vgg3d import VGG3D, DUCDecoder, UNetDecoder, shuffled
from workbench.study import Arm, Study, Task, arms_of

SIDES = (32, 32, 32)
WHOLE = Rules(2, 1, mask=True)
PRETEXT = {"stage": "pretext"}


def batch_of(count: int = 4) -> dict[str, Tensor]:
    return small_data("headct").train.__getitems__(range(count))


def volumes(count: int = 2, sides: tuple[int, ...] = SIDES, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, *sides, generator=torch.Generator().manual_seed(1))


def played_with(volume: Tensor, rules: Rules = WHOLE, moved: bool = False, seed: int = 0) -> cubes.Puzzle:
    draw = torch.rand(len(volume), rules.draws(volume.shape[2:]), generator=torch.Generator().manual_seed(seed))
    return puzzle(volume, permutation_set(24, 0), draw, rules, moved)


def stepped(model: method.Method) -> dict[str, Tensor]:
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    fit.step(model, model.optimizers(), [batch_of()], 0, FLOAT32, bf16=False)
    return {key: p.detach() - before[key] for key, p in model.named_parameters()}


# ---------------------------------------------------------------- permutations


def test_permutations_are_far_apart_and_come_from_the_seed():
    chosen = permutation_set(100, 0)
    assert chosen.shape == (100, 8) and (chosen.sort(1).values == torch.arange(8)).all()
    assert distances(chosen).min() >= 5 and 6.9 < distances(chosen).float().mean() < 7.2
    assert torch.equal(chosen, permutation_set(100, 0)) and not torch.equal(chosen, permutation_set(100, 1))
    assert torch.equal(chosen[:24], permutation_set(24, 0)), "chosen one by one"
    assert distances(permutation_set(24, 3)).min() >= 5


@pytest.mark.parametrize("select", ["max_mean", "random"])
def test_other_ways_of_choosing_leave_permutations_that_are_alike(select):
    chosen = permutation_set(100, 0, select)
    assert len(chosen.unique(dim=0)) == 100 and distances(chosen).min() < 5
    with pytest.raises(InvalidParameter, match="at most 40320"):
        permutation_set(40321, 0)


def test_permutations_are_kept_with_the_weights():
    first, second = (small_method("rubik", **PRETEXT, permutation_seed=seed) for seed in (0, 1))
    assert torch.equal(first.state_dict()["permutations"], permutation_set(24, 0))
    assert not torch.equal(first.permutations, second.permutations)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.permutations, second.permutations)


def test_every_permutation_occurs():
    order, _, _ = cubes.targets(torch.rand(4000, 41, generator=torch.Generator().manual_seed(0)), 24, WHOLE)
    assert sorted(order.unique().tolist()) == list(range(24)) and order.bincount().min() > 100
    edge = torch.full((1, 41), 1 - 2**-24)
    assert cubes.targets(edge, 24, WHOLE)[0] == 23 and cubes.targets(edge * 0, 24, WHOLE)[0] == 0


# ---------------------------------------------------------------- cubes


def test_cubes_tile_the_volume():
    """Numbers of voxels: without a gap all occur once; with it, all but the planes between and around the cubes."""
    numbers = torch.arange(32.0**3).view(1, 1, *SIDES)
    assert torch.equal(assembled(taken(numbers, 0)), numbers)
    kept = taken(numbers, 2)
    assert kept.shape == (1, 8, 1, 14, 14, 14) and len(kept.unique()) == kept.numel()
    inside = [x for x in range(32) if x % 16 not in (0, 15)]
    assert torch.equal(assembled(kept)[0, 0], numbers[0, 0][inside][:, inside][:, :, inside])
    odd = torch.arange(2 * 16.0 * 24 * 32).view(1, 2, 16, 24, 32)
    assert taken(odd, 2).shape == (1, 8, 2, 6, 10, 14) and torch.equal(assembled(taken(odd, 0)), odd)


def test_cubes_differ_from_one_another():
    for gap in (0, 2):
        flat = taken(batch_of()["image"], gap).flatten(2)
        for one in flat:
            assert torch.cdist(one, one).fill_diagonal_(torch.inf).min() > 1


def test_jitter_moves_cubes_within_their_cells_in_training_alone():
    numbers = torch.arange(32.0**3).view(1, 1, *SIDES).expand(40, -1, -1, -1, -1)
    draw = torch.rand(40, 41, generator=torch.Generator().manual_seed(0))
    place = (draw[:, 17:41].view(-1, 8, 3) * 3).long() - 1
    moved = taken(numbers, 2, place)
    corner = moved[:, :, 0, 0, 0, 0].long()
    axes = torch.stack([corner // 1024, corner // 32 % 32, corner % 32], -1)
    assert set(axes.flatten().tolist()) == {0, 1, 2, 16, 17, 18}
    assert (moved[:, :, 0, -1, -1, -1].long() // 1024 % 16 <= 15).all()
    assert torch.equal(taken(numbers, 2, torch.zeros(40, 8, 3, dtype=torch.long)), taken(numbers, 2))
    still, other = (played_with(volumes(), Rules(2, jitter), moved) for jitter, moved in ((1, False), (0, True)))
    assert torch.equal(still.cubes, other.cubes)
    assert not torch.equal(played_with(volumes(), moved=True).cubes, played_with(volumes()).cubes)


def test_half_turns_are_flips_of_two_axes_and_undo_themselves():
    one = volumes(1, (4, 4, 4))[0, 0]
    for axes in (cubes.HORIZONTAL, cubes.VERTICAL):
        assert len(axes) == 2, "a flip of one axis is a mirror image"
        assert torch.equal(one.flip(axes), torch.rot90(one, 2, axes))
    pieces = taken(volumes(), 2)
    turn = (torch.rand(2, 2, 8, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    done = cubes.turned(pieces, turn)
    assert torch.equal(cubes.turned(done, turn), pieces)
    only = torch.zeros(2, 2, 8)
    only[0, 0, 3] = 1
    changed = (cubes.turned(pieces, only) != pieces).flatten(2).any(2)
    assert changed.nonzero().tolist() == [[0, 3]]
    assert torch.equal(cubes.turned(pieces, only)[0, 3], pieces[0, 3].flip((2, 3)))


def test_undoing_turns_and_permutation_restores_the_volume():
    made = played_with(volumes(3, channels=2), Rules(2, 0), seed=4)
    back = restored(made.cubes, permutation_set(24, 0)[made.order], made.turn)
    assert torch.equal(back, normalised(taken(volumes(3, channels=2), 2)))
    assert not torch.equal(back, made.cubes) and made.turn.sum() > 0


def test_a_third_of_the_cubes_is_turned_each_way_and_none_both():
    _, turn, masked = cubes.targets(torch.rand(3000, 41, generator=torch.Generator().manual_seed(0)), 24, WHOLE)
    assert turn.sum(1).max() == 1
    assert turn.mean((0, 2)).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.01)
    assert masked.mean() == pytest.approx(0.5, abs=0.02)


def test_each_cube_is_scaled_by_itself():
    """A field that is linear in the volume would tell where a cube was; scaled by itself, none differs in range."""
    field = torch.linspace(1, 9, 32).view(1, 1, 32, 1, 1) * (1 + volumes(2))
    made = played_with(field, Rules(2, 1), moved=True).cubes
    assert torch.allclose(made.amin((3, 4, 5)), torch.tensor(-1.0))
    assert torch.allclose(made.amax((3, 4, 5)), torch.tensor(1.0), atol=1e-5)
    assert (normalised(torch.full((1, 1, 4, 4, 4), 3.0)) == -1).all()
    two = normalised(torch.cat([volumes(1), 50 + 100 * volumes(1)], 1))
    assert torch.allclose(two[:, 0], two[:, 1], atol=1e-4), "every channel by itself"


def test_masks_zero_half_of_the_voxels_of_half_of_the_cubes():
    plain, masks = Rules(2, 0), Rules(2, 0, mask=True)
    draw = torch.rand(8, masks.draws(SIDES), generator=torch.Generator().manual_seed(3))
    plain, masked = (puzzle(volumes(8), permutation_set(24, 0), draw, rules, False) for rules in (plain, masks))
    zero = (masked.cubes == 0).flatten(2).float().mean(2)
    assert ((zero > 0.4) == (masked.masked > 0.5)).all() and 0.3 < masked.masked.mean() < 0.7
    assert zero[masked.masked > 0.5].mean() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(plain.turn, masked.turn) and plain.masked.sum() == 0
    assert torch.equal(plain.cubes[masked.masked < 0.5], masked.cubes[masked.masked < 0.5])


def test_volumes_too_small_for_the_cubes_are_refused():
    with pytest.raises(InvalidParameter, match="at least 4 voxels a side, found 16 x 16 x 16 voxels with gap=6"):
        small_method("rubik", grid="16x16x16", gap=6)
    with pytest.raises(InvalidParameter, match="half of gap=2"):
        small_method("rubik", jitter=2)
    with pytest.raises(InvalidParameter, match="halved between all levels"):
        small_method("rubik", grid="16x16x16", depth=4)


# ---------------------------------------------------------------- losses and heads


def test_losses_by_hand():
    assert order_loss(torch.zeros(3, 24), torch.tensor([0, 5, 23])).item() == pytest.approx(math.log(24))
    turn = torch.zeros(2, 2, 8)
    turn[:, 0, :4] = 1
    assert rotation_loss(torch.zeros(2, 2, 8), turn).item() == pytest.approx(2 * math.log(2))
    assert mask_loss(torch.zeros(2, 8), turn[:, 0]).item() == pytest.approx(math.log(2))
    sure = rotation_loss(40 * (2 * turn - 1), turn)
    assert sure < 1e-6


def test_saying_turned_everywhere_costs():
    """As printed, L_R of r = 1 is 0 whatever the targets are."""
    everywhere = torch.full((1, 2, 8), 20.0)
    assert rotation_loss(everywhere, torch.ones(1, 2, 8)) < 1e-6
    some = torch.ones(1, 2, 8)
    some[0, 1, 5] = 0
    assert rotation_loss(everywhere, some) > 1


def test_weights_of_the_terms():
    model = small_method("rubik", **PRETEXT, masking=True)
    half = model.play_losses(batch_of())
    full = small_method("rubik", **PRETEXT, masking=True, alpha=1.0, beta=1.0, gamma=2.0).play_losses(batch_of())
    assert [float(full[name] / half[name]) for name in ("order", "turn", "mask")] == pytest.approx([2, 2, 2], rel=1e-4)
    (_, loss, logs), *_ = model.updates(batch_of())
    assert loss.item() == pytest.approx(sum(float(term) for term in logs.values()), rel=1e-5)


@pytest.mark.parametrize("change", [{}, *rubik.PLAYS.values()], ids=["rubik", *rubik.PLAYS])
def test_encoder_and_all_heads_learn_in_a_step_of_the_pretext(change):
    moved = stepped(small_method("rubik", **PRETEXT, **change))
    assert not [key for key, value in moved.items() if not value.any()]
    assert any(key.startswith("encoder") for key in moved) and any(key.startswith("heads") for key in moved)


def test_there_are_heads_for_what_is_played():
    kinds = lambda **change: set(small_method("rubik", **PRETEXT, **change).heads.kinds)  # noqa: E731
    assert kinds() == {"order", "horizontal", "vertical"} and kinds(play="order") == {"order"}
    assert kinds(play="rotation") == {"horizontal", "vertical"}
    assert kinds(masking=True) == {"order", "horizontal", "vertical", "mask"}
    shallow, deep = (small_method("rubik", **PRETEXT, rotation_layers=n).heads.kinds for n in (1, 2))
    assert len(deep["vertical"]) == len(shallow["vertical"]) + 2 and len(deep["order"]) == len(shallow["order"])


def test_one_encoder_looks_at_every_cube():
    """Swapping two cubes swaps their features and changes no other."""
    model = small_method("rubik", **PRETEXT).eval()
    pieces = normalised(taken(volumes(1), 2))
    swapped = pieces[:, [1, 0, 2, 3, 4, 5, 6, 7]]
    first, second = (model.encoder.pooled(x.flatten(0, 1)) for x in (pieces, swapped))
    torch.testing.assert_close(first[[1, 0, 2, 3, 4, 5, 6, 7]], second)


def test_puzzles_in_the_test_belong_to_the_case_and_are_alike_in_all_arms():
    batch, model = batch_of(), small_method("rubik", **PRETEXT).eval()
    whole, alone = model.played(batch), model.played({key: value[2:3] for key, value in batch.items()})
    assert torch.equal(whole.cubes[2:3], alone.cubes) and whole.order[2] == alone.order[0]
    plus = small_method("rubik", **PRETEXT, masking=True, gap=0, jitter=0).eval().played(batch)
    assert torch.equal(plus.order, whole.order) and torch.equal(plus.turn, whole.turn)
    model.train()
    assert not torch.equal(model.played(batch).cubes, whole.cubes)
    floor = played(batch["number"], 24)
    assert torch.allclose(floor["orientation"], 1 - whole.turn.mean((1, 2))) and (floor["order"] == 1 / 24).all()


@pytest.mark.parametrize("play", ["rubik", "order", "rotation", "volume"])
def test_pretext_scores_are_those_of_its_answers(play):
    model, batch = small_method("rubik", **PRETEXT, play=play, masking=play == "rubik").eval(), batch_of()
    with torch.inference_mode():
        found = model.score(batch, model.predict(batch))
        names = {"rubik": {"order", "orientation", "masking"}, "order": {"order"}, "rotation": {"orientation"}}
        assert set(found) == names.get(play, {"pose"}) | {"right"}
        assert torch.allclose(
            found["right"], sum(value for key, value in found.items() if key != "right") / (len(found) - 1)
        )
        assert all(value.shape == (4,) and 0 <= value.min() <= value.max() <= 1 for value in found.values())
        if play == "rubik":
            truth = model.played(batch)
            score = torch.cat([truth.turn, truth.masked[:, None]], 1)
            perfect = {"logits": torch.nn.functional.one_hot(truth.order, 24).float(), "score": score}
            assert all(value.min() == 1 for value in model.score(batch, perfect).values())
            none = {"logits": perfect["logits"], "score": torch.zeros(4, 3, 8)}
            majority = model.score(batch, none)["orientation"]
            assert torch.allclose(majority, 1 - truth.turn.mean((1, 2)))


def test_poses_of_whole_volumes():
    assert len(poses((32, 32, 32))) == 10 and len(poses((32, 40, 32))) == 4
    one = volumes(1, (4, 4, 4))[0, 0]
    turned = torch.stack([torch.rot90(one, count, plane) for count, plane in poses((4, 4, 4))])
    assert len(turned.flatten(1).unique(dim=0)) == 10
    batch = {"image": volumes(2, (16, 24, 16)), "number": torch.tensor([1, 2])}
    model = small_method("rubik", **PRETEXT, play="volume", grid="16x24x16").eval()
    assert model.predict(batch)["logits"].shape == (2, 4)


# ---------------------------------------------------------------- transfer


def test_voxels_are_laid_out_from_channels():
    """Against a slow reference, and where every output voxel comes from its own channel."""
    values = torch.rand(2, 3 * 8, 2, 3, 4)
    found = shuffled(values, 2)
    assert found.shape == (2, 3, 4, 6, 8)
    for b, c, x, y, z in ((0, 0, 0, 0, 0), (1, 2, 3, 5, 7), (0, 1, 1, 0, 6), (1, 0, 2, 3, 1)):
        channel = c * 8 + (x % 2) * 4 + (y % 2) * 2 + z % 2
        assert found[b, c, x, y, z] == values[b, channel, x // 2, y // 2, z // 2]


@pytest.mark.parametrize("decoder", [UNetDecoder, DUCDecoder])
def test_decoders_give_logits_for_every_voxel(decoder):
    net = VGG3D(2, 4, 3, 1)
    features = net(torch.rand(1, 2, 16, 24, 32))
    assert [tuple(f.shape[1:]) for f in features] == [(4, 16, 24, 32), (8, 8, 12, 16), (16, 4, 6, 8)]
    assert decoder(net.widths, 3)(features).shape == (1, 3, 16, 24, 32)
    assert net.width == 16 and net.pooled(torch.rand(2, 2, 14, 14, 14)).shape == (2, 16)


def test_duc_decoder_has_few_weights():
    count = lambda net: sum(p.numel() for p in net.parameters())  # noqa: E731
    assert count(DUCDecoder([8, 16, 32], 3)) == 33 * 3 * 64 < count(UNetDecoder([8, 16, 32], 3))


@pytest.mark.parametrize("decoder", ["unet", "duc"])
def test_segmentation_learns_everywhere_and_scores(decoder):
    options = {"task": "segmentation", "decoder": decoder}
    model = small_method("rubik", **options)
    assert not [key for key, value in stepped(model).items() if not value.any()]
    batch = batch_of()
    with torch.inference_mode():
        prediction = model.eval().predict(batch)
        found = model.score(batch, prediction)
    assert prediction["mask"].shape == batch["label"].shape
    assert {"dice", "dice_ventricle", "dice_haemorrhage"} <= set(found)
    assert model.score(batch, {"mask": batch["label"].float()})["dice"].tolist() == [1, 1, 1, 1]


OPTIONS = {"size": 16, "train": 12, "labelled": 8, "valid": 4, "test": 4}
SMALL = {"base": 2, "head_width": 8, "cube_width": 4, "pretext_epochs": 1}
QUICK = {"epochs": 1, "batch": 4, "valid_every": 0, "precision": "float32"}


def task(**change) -> Task:
    own, budget, options = study.settings("rubik", change)
    return Task("x", Arm("rubik", SMALL | own, QUICK | budget, options), "headct", OPTIONS, 0, None)


def test_stages_follow_from_the_settings():
    before = task().before
    assert before.config.stage == "pretext" and before.budget.epochs == 1 and task().stage[1] == ("encoder.",)
    assert len(before.data.train) == 12 and (before.data.train.tensors["class"] == -1).all()
    assert len(task().data.train) == 8 and before.before is None
    assert task(start="scratch").before is None and task(start="weights", weights="x.pt").before is None
    assert task(play="order").before.config.play == "order"


def test_arms_share_their_pretext():
    """Whatever the number of labels, the task and its decoder, it is one run; and the arm that stops there is it."""
    one = task().before.id
    assert task(target="structures", decoder="duc").before.id == one == task(labelled=4).before.id
    assert task(lr=0.1).before.id == one and task(start="scratch").before is None
    assert task(**(ABLATIONS["pretext"] | {"epochs": 1})).id == one
    assert task(gap=0, jitter=0).before.id != one and task(masking=True).before.id != one


def test_all_arms_have_the_same_steps_and_labels():
    tasks, budgets = Study(arms_of("rubik", ("ablations",)), options=rubik_options()).tasks(), {}
    for one in tasks:
        if one.config.stage == "target":
            mine = (one.budget.epochs, one.budget.batch, one.config.lr)
            assert mine == budgets.setdefault(one.config.task, mine)
            same = one.data.train.table["case"] == tasks[0].data.train.table["case"]
            assert same or one.config.task == "segmentation"
        if one.before:
            assert one.before.budget.epochs == tasks[0].before.budget.epochs
            assert not set(one.before.data.train.table["case"]) & set(one.data.test.table["case"])


def rubik_options() -> dict:
    return {key: value for key, value in rubik.TINY.items() if key in ("labelled",)} | OPTIONS


def test_only_the_encoder_is_taken_over_and_scores_have_their_metrics(tmp_path, monkeypatch):
    starts, train = [], fit.fit

    def watched(model, *rest, **named):
        starts.append((model, {key: value.clone() for key, value in model.state_dict().items()}))
        return train(model, *rest, **named)

    monkeypatch.setattr(fit, "fit", watched)
    names = ("scratch", "pretext", "segment_duc", "segment_duc_scratch", "majority")
    dealt = {"rubik": {}, **{name: ABLATIONS.get(name, {}) for name in names}}
    arms = {}
    for name, change in dealt.items():
        kind = "majority" if name == "majority" else "rubik"
        own, budget, options = study.settings(kind, change)
        arms[name] = Arm(kind, (SMALL if kind == "rubik" else {}) | own, QUICK | budget | {"epochs": 1}, options)
    one = Study(arms, options=OPTIONS, root=tmp_path).run()
    pretext, fresh = starts[0][0], {id(model): state for model, state in starts}
    assert pretext.config.stage == "pretext" and len(starts) == 6, "the pretext is trained once"
    after = pretext.encoder.state_dict()
    for model, state in starts[1:]:
        same = [key for key in after if torch.equal(state.get(f"encoder.{key}", after[key] + 1), after[key])]
        wanted = isinstance(model, Rubik) and model.config.start == "pretext"
        assert (len(same) == len(after)) == wanted, model.config
    assert "permutations" not in fresh[id(starts[1][0])]
    assert {"accuracy", "balanced_accuracy", "dice", "order", "orientation"} <= set(one.scores)
    judged = {verdict["claim"]: verdict for verdict in one.claims()}
    assert len(judged) == 5 and judged["higher accuracy than from scratch"]["kind"] == "must"


def test_encoder_takes_its_weights_from_a_file(tmp_path):
    torch.manual_seed(5)
    source = small_method("rubik", **PRETEXT).encoder
    with torch.no_grad():
        source.levels[0][0].weight.fill_(0.5)
    save_file({f"module.encoder.{k}": v for k, v in source.state_dict().items()}, tmp_path / "video.safetensors")
    named = {"start": "weights", "weights": str(tmp_path / "video.safetensors")}
    model = small_method("rubik", **named)
    model.begin()
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.encoder.state_dict().items())
    with pytest.raises(InvalidParameter, match="nothing was loaded"):
        small_method("rubik", **named, depth=2).begin()
    with pytest.raises(InvalidParameter, match="start=weights, found none"):
        Config(start="weights")


def test_every_ablation_changes_something_and_claims_name_arms_that_there_are():
    module = method.module("rubik")
    arms = arms_of("rubik", ("ablations",))
    seen = [(str(sorted(arm.config.items())), str(arm.budget), str(arm.data)) for arm in arms.values()]
    assert len(set(seen)) == len(seen) == len(ABLATIONS) + 1
    named = {claim.arm for claim in module.CLAIMS} | {claim.other for claim in module.CLAIMS}
    assert named <= {None, "rubik", *ABLATIONS, *module.FLOORS}
    assert len([claim for claim in module.CLAIMS if claim.kind == "must"]) == 3


def test_paper_scale_builds():
    values = {key: value for key, value in PAPER.items() if hasattr(Config, key)}
    model = Rubik(Config(**values, channels=4, stage="pretext"))
    assert cubes.sides_of(model.config.sides, model.config.gap, model.config.jitter) == (128, 128, 32)
    assert model.permutations.shape == (100, 8) and distances(model.permutations).min() >= 5
    sizes = [layer.out_features for layer in model.heads.kinds["order"] if hasattr(layer, "out_features")]
    assert sizes == [1024, 1024, 100]
    turns = [layer.out_features for layer in model.heads.kinds["horizontal"] if hasattr(layer, "out_features")]
    assert turns == [1024, 8]
    asked = {"epochs": 1000, "schedule": "quarter", "best": "right", "patience": 40, "valid_every": 1}
    assert Rubik.before(Config(**values, channels=4)).budget == asked


# ---------------------------------------------------------------- learning


def test_a_few_volumes_are_learned_by_heart():
    source = data.open_data("headct", size=16, train=8, valid=4, test=4)
    spec = {key: value for key, value in source.spec.items() if hasattr(Config, key)}
    torch.manual_seed(0)
    model = Rubik(Config(**spec, lr=3e-3))
    fit.fit(model, source.train, Budget(epochs=40, batch=8, valid_every=0, precision="float32"))
    found = fit.gathered(model, [score for *_, score in fit.evaluate(model, source.train)])
    assert found["accuracy"].mean() == 1


def test_floor_says_what_is_most_frequent():
    model = small_method("majority")
    batch = batch_of(4)
    batch["class"] = torch.tensor([2, 2, 1, -1])
    list(model.updates(batch))
    assert model.counts.tolist() == [0, 1, 2, 0] and isinstance(model, Majority)
    assert model.predict(batch)["logits"].argmax(1).tolist() == [2] * 4
    blank = small_method("majority", task="segmentation")
    assert blank.predict(batch)["mask"].sum() == 0 and blank.score(batch, blank.predict(batch))["dice"].max() == 0
