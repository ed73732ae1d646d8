"""What every method and baseline promises, whichever they are: found by discovery, tested alike."""

import dataclasses
import inspect

import pytest
import torch
from conftest import FLOAT32, small_data, small_method

from workbench import config, data, fit, method
from workbench.errors import InvalidParameter
from workbench.fit import Budget, Stopped

NAMES = sorted(method.names())
OUTPUTS = {"mask", "color", "point", "volume", "flow", "feature", "logits", "score", "probability"}


def batch_of(name: str, count: int = 4) -> dict[str, torch.Tensor]:
    return small_data(method.method_class(name).data).train.__getitems__(range(count))


def same(first: method.Method, second: method.Method) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(
        torch.equal(one[k], two[k]) for k in one if isinstance(one[k], torch.Tensor)
    )


def test_the_issue_is_about_all_of_them():
    assert {"smcgan", "gan", "dcgan", "chromagan", "wgan", "wgan_gp", "cyclegan", "grey", "colortable"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_file_tells_what_it_is(name):
    module, cls = method.module(name), method.method_class(name)
    assert "Source" in module.__doc__ or "floor" in module.__doc__.lower()
    assert all(config.comments(cls.Config).values()), "every setting has a comment"
    assert dataclasses.fields(cls.Config) or not list(small_method(name).parameters())
    own, others = ({f.name for f in dataclasses.fields(g)} for g in (cls.Config, Budget))
    options = {f.name for f in dataclasses.fields(data.module(cls.data).Options)}
    assert not own & others and not (own & options) - set(small_data(cls.data).spec)
    assert not own & set(getattr(module, "TINY", {})), "what is tiny of the method is its default"
    presets = [getattr(module, which, {}) for which in ("TINY", "DEMO", "PAPER")]
    for change in (*presets, *getattr(module, "ABLATIONS", {}).values()):
        assert set(change) <= own | others | options
        cls.Config(**{k: v for k, v in change.items() if hasattr(cls.Config, k)})


@pytest.mark.parametrize("name", NAMES)
def test_methods_do_not_import_one_another(name):
    source = inspect.getsource(method.module(name))
    assert "workbench.methods" not in source and "workbench.baselines" not in source


@pytest.mark.parametrize("name", NAMES)
def test_updates_name_optimizers_and_give_finite_scalars(name):
    model = small_method(name)
    optimizers = model.optimizers()
    for side, loss, logs in model.updates(batch_of(name)):
        assert side in optimizers
        assert loss.shape == () and torch.isfinite(loss)
        assert all(torch.isfinite(torch.as_tensor(value)) for value in logs.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    model = small_method(name)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    fit.step(model, model.optimizers(), [batch_of(name)], 0, FLOAT32, bf16=False)
    dead = [key for key, p in model.named_parameters() if torch.equal(p, before[key])]
    # the last bias of a Wasserstein critic cancels between real and generated images
    assert all(key.startswith("critic") and key.endswith("bias") for key in dead), dead
    assert len(dead) <= 2


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_documented_scored_by_item_and_independent_of_the_batch(name):
    model, batch = small_method(name).eval(), batch_of(name)
    if not model.optimizers():
        list(model.updates(batch))
    with torch.inference_mode():
        together = model.predict(batch)
        assert together and set(together) <= OUTPUTS
        for key, value in model.score(batch, together).items():
            assert value.shape == (4,), key
        for item in range(4):
            alone = model.predict({key: value[item : item + 1] for key, value in batch.items()})
            for key in together:
                torch.testing.assert_close(alone[key][0], together[key][item], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_trains_and_keeps_weights_in_float32(name):
    model = small_method(name)
    logs = fit.step(model, model.optimizers(), [batch_of(name)], 0, FLOAT32, bf16=True)
    assert all(torch.isfinite(torch.as_tensor(value)) for value in logs.values())
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_stopped_and_resumed_equals_never_stopped(name, tmp_path):
    source = small_data(method.method_class(name).data)
    whole = fit.fit(small_method(name), source.train, FLOAT32, seed=3)
    with pytest.raises(Stopped):
        fit.fit(small_method(name), source.train, FLOAT32, seed=3, folder=tmp_path, watch=lambda told: told.total == 3)
    resumed = fit.fit(small_method(name), source.train, FLOAT32, seed=3, folder=tmp_path)
    assert same(whole, resumed)
    if list(whole.parameters()):
        assert not same(whole, fit.fit(small_method(name), source.train, FLOAT32, seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_global_random_state_does_not_matter(name):
    results = []
    for state in (1, 2):
        model = small_method(name)
        torch.manual_seed(state)
        results.append(fit.fit(model, small_data(model.data).train, FLOAT32))
    assert same(*results)


def test_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(InvalidParameter, match="did you mean smcgan"):
        method.module("smcgam")
