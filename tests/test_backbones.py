"""Backbones by name, and weights from files mapped by key: small files made here, nothing is downloaded."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from workbench.errors import InvalidParameter
from workbench.models import backbones
from workbench.models.backbones import backbone, load_weights

WIDTHS = {
    "small": 64, "depthwise": 128, "residual": 128, "resnet10": 512, "resnet18": 512, "resnet34": 512, "resnet50": 2048,
    "densenet121": 1024, "efficientnet-b0": 1280, "vgg11": 512,
}  # fmt: skip


def net(name="small", channels=3, dims=2, seed=0):
    torch.manual_seed(seed)
    return backbone(name, channels, dims).eval()


def kept(path, tensors):
    save_file({key: value.contiguous().clone() for key, value in tensors.items()}, path)
    return path


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", WIDTHS)
def test_features_have_the_width_that_is_told(name, dims):
    model = net(name, channels=2, dims=dims)
    with torch.inference_mode():
        found = model(torch.rand(2, 2, *[32] * dims))
    assert found.shape == (2, model.width) and model.width == WIDTHS[name]


@pytest.mark.parametrize("name", ["small", "depthwise", "residual"])
def test_base_sets_the_widths_and_small_images_pass(name):
    assert backbone(name, 1, 3, base=4).width == WIDTHS[name] // 4
    assert backbone(name, 1, 2, base=4).eval()(torch.rand(1, 1, 3, 3)).isfinite().all()


def test_unknown_names_and_sides_are_refused():
    with pytest.raises(InvalidParameter, match="did you mean resnet18"):
        backbone("resnet-18", 3)
    with pytest.raises(InvalidParameter, match="2 or 3 sides"):
        backbone("small", 3, 4)


@pytest.mark.parametrize("prefix", ["", "module.", "module.encoder.", "backbone.net."])
@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth"])
def test_weights_are_found_behind_any_prefix_and_the_classifier_is_left(tmp_path, prefix, ending):
    source, target = net(seed=1), net(seed=2)
    tensors = {prefix + key: value for key, value in source.net.state_dict().items()}
    outside = prefix.removesuffix("encoder.").removesuffix("backbone.net.") + "fc.weight"
    tensors[outside] = torch.zeros(5, 64)
    path = tmp_path / f"weights.{ending}"
    kept(path, tensors) if ending == "safetensors" else torch.save({"state_dict": tensors, "epoch": 3}, path)
    report = load_weights(target, path)
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(source(image), target(image))
    assert report.unexpected == (outside,) and not report.missing and not report.reshaped
    assert len(report.matched) == len(source.net.state_dict())
    assert str(report) == f"{len(report.matched)} matched, 0 missing, 1 unexpected, 0 reshaped"


def test_of_two_encoders_the_first_is_taken(tmp_path):
    first, second, target = net(seed=1), net(seed=2), net(seed=3)
    tensors = {f"a.{k}": v for k, v in first.net.state_dict().items()}
    tensors |= {f"b.{k}": v for k, v in second.net.state_dict().items()} | {"queue": torch.zeros(3)}
    report = load_weights(target, kept(tmp_path / "pair.safetensors", tensors))
    assert all(torch.equal(value, tensors[f"a.{key}"]) for key, value in target.net.state_dict().items())
    assert "queue" in report.unexpected and "b.0.weight" in report.unexpected


def test_counters_may_be_missing(tmp_path):
    tensors = {k: v for k, v in net(seed=1).net.state_dict().items() if not k.endswith("num_batches_tracked")}
    report = load_weights(net(), kept(tmp_path / "old.safetensors", tensors))
    assert len(report.missing) == 4 and all(key.endswith("num_batches_tracked") for key in report.missing)


def test_published_names_of_a_densenet_and_an_efficientnet_are_known(tmp_path):
    """As in the files of torchvision's hub (norm.1 below the layer) and of the first PyTorch EfficientNet."""
    dense, efficient = net("densenet121", seed=1), net("efficientnet-b0", seed=1)
    old = {
        key.replace(".layers.norm", ".norm.").replace(".layers.conv", ".conv."): value
        for key, value in dense.net.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    new = {key.replace(".layers.", "."): value for key, value in dense.net.state_dict().items()}
    flat = {}
    for key, value in efficient.net.state_dict().items():
        parts = key.split(".")
        flat[".".join(parts[:1] + parts[2:] if parts[0] == "_blocks" else parts)] = value
    assert "_blocks.15._project_conv.weight" in flat
    for name, source, tensors in (
        ("densenet121", dense, old), ("densenet121", dense, new), ("efficientnet-b0", efficient, flat),
    ):  # fmt: skip
        target = net(name, seed=2)
        load_weights(target, kept(tmp_path / "published.safetensors", tensors | {"classifier.bias": torch.zeros(3)}))
        image = torch.rand(1, 3, 32, 32)
        assert torch.equal(source(image), target(image))


def test_resnet_has_the_published_names():
    keys = set(net("resnet18").net.state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.downsample.0.weight"} <= keys
    assert "layer2.0.downsample.0.bias" not in keys and not any(key.startswith("fc") for key in keys)
    assert "0.weight" in net("vgg11").net.state_dict() and "18.bias" in net("vgg11").net.state_dict()


def test_three_channels_become_one_and_one_becomes_three(tmp_path):
    """A grey image gets the features that it would get as three equal channels."""
    rgb = net(seed=1)
    path = kept(tmp_path / "rgb.safetensors", rgb.net.state_dict())
    grey, image = net(channels=1, seed=2), torch.rand(2, 1, 32, 32)
    report = load_weights(grey, path)
    assert report.reshaped == ("0.weight",) and "0.weight" in report.matched
    torch.testing.assert_close(grey(image), rgb(image.expand(-1, 3, -1, -1)))
    back = net(seed=3)
    load_weights(back, kept(tmp_path / "grey.safetensors", grey.net.state_dict()))
    torch.testing.assert_close(back(image.expand(-1, 3, -1, -1)), grey(image))


def test_kernels_of_two_sides_are_spread_over_a_third(tmp_path):
    """Far from the ends, a volume that is the same in every slice has the features of a slice."""
    flat, deep = net(seed=1), net(dims=3, seed=2)
    report = load_weights(deep, kept(tmp_path / "flat.safetensors", flat.net.state_dict()))
    assert len(report.reshaped) == 4
    image = torch.rand(1, 3, 16, 16)
    found = deep.net[0](image[:, :, None].expand(-1, -1, 16, -1, -1))
    torch.testing.assert_close(found[:, :, 8], flat.net[0](image))


def test_another_architecture_is_refused_and_nothing_is_loaded(tmp_path):
    target = net(seed=1)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    cases = {
        "not in the file: 0.weight, 1.weight, 1.bias and": {"conv1.weight": torch.zeros(64, 3, 7, 7)},
        "of another shape: 0.weight": backbone("small", 3, base=8).net.state_dict(),
        "1 keys not in the network: extra.weight": net().net.state_dict() | {"extra.weight": torch.zeros(2)},
    }
    for number, (words, tensors) in enumerate(cases.items()):
        with pytest.raises(InvalidParameter, match=words):
            load_weights(target, kept(tmp_path / f"{number}.safetensors", tensors))
    other = net("resnet18")
    with pytest.raises(InvalidParameter, match="nothing was loaded") as told:
        load_weights(other, kept(tmp_path / "deeper.safetensors", net("resnet34").net.state_dict()))
    assert "layer1.2." in str(told.value) and "\n" not in str(told.value)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


def test_files_that_hold_no_weights_are_refused(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not weights at all")
    (tmp_path / "broken.pt").write_bytes(b"not weights at all")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")  # a pickled module would run code
    for name in ("broken.safetensors", "broken.pt", "list.pt", "module.pt", "absent.pt"):
        with pytest.raises(InvalidParameter, match=r"expected a file.*give a \.safetensors"):
            load_weights(net(), tmp_path / name)


def test_hub_files_are_fetched_once_and_only_when_asked(tmp_path, monkeypatch):
    asked, source = [], net(seed=1)

    def download(url, path, **_):
        asked.append(url)
        save_file(source.net.state_dict(), path)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    for _ in range(2):
        load_weights(net(), "hf:someone/some-model/folder/weights.safetensors")
    assert asked == ["https://mirror.example/someone/some-model/resolve/main/folder/weights.safetensors"]
    for wrong in ("hf:someone/weights", "hf:a/b/../../c.pt", "hf:a/b/readme.md"):
        with pytest.raises(InvalidParameter, match="hf:owner/repo/file"):
            backbones.fetched(wrong)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("HTTP 404")))
    with pytest.raises(InvalidParameter, match="HTTP 404"):
        backbones.fetched("hf:someone/other/weights.pt")
