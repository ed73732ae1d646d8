"""Endoscopy: clips of two centres, their true motion and looks, and folders of videos in every layout."""

import functools
import importlib.util
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from workbench import data
from workbench.data import endoscopy
from workbench.data.endoscopy import Options, clips, folders, layouts, phantoms
from workbench.errors import InvalidImage, InvalidParameter
from workbench.losses.histogram import histogram
from workbench.models.warp import warp

SMALL = {"size": 32, "train": 3, "valid": 2, "test": 3, "frames": 4}
SPLITS = ("train", "valid", "test")


@functools.cache
def phantom(**changes):
    return data.open_data("endoscopy", **(SMALL | changes))


@functools.cache
def usual():
    """Enough clips of the usual size to measure something."""
    return data.open_data("endoscopy", train=8, valid=2, test=8)


def refused(call, *words, error=InvalidImage):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- items


def test_every_clip_of_one_centre_meets_every_clip_of_the_other_in_an_epoch():
    train = phantom().train
    assert len(train) == 9 and len(train.table["case"]) == 9
    batch = train.__getitems__(range(9))
    brightness = [tuple(batch[key][i].mean().item() for key in ("image", "target")) for i in range(9)]
    assert len(set(brightness)) == 9
    assert len({one for one, _ in brightness}) == len({other for _, other in brightness}) == 3


def test_shapes_and_ranges():
    for split in SPLITS:
        part = getattr(phantom(), split)
        batch = part.__getitems__([0, 1])
        for key in ("image", "target", "stranger", "target_stranger"):
            assert batch[key].shape == (2, 3, 4, 32, 32) and batch[key].dtype == torch.float32
            assert 0 <= batch[key].min() < batch[key].max() <= 1
        for key in ("label", "target_label"):
            assert batch[key].shape == (2, 1, 4, 32, 32) and batch[key].dtype == torch.int16
        assert ("flow" in batch) == (split != "train")
        assert batch["palette"].shape == (2, 3, 256) and batch["tone"].shape == (2, 2, 3)
        assert batch["length"].tolist() == batch["target_length"].tolist() == [4, 4]


def test_labels_of_the_translated_centre_are_not_there_to_choose_settings_by():
    assert set(phantom().valid.tensors["label"].unique().tolist()) == {-1}
    for split in ("train", "test"):
        assert set(getattr(phantom(), split).tensors["label"].unique().tolist()) == {0, 1}
    for split in SPLITS:
        assert set(getattr(phantom(), split).tensors["target_label"].unique().tolist()) == {0, 1}


def test_no_video_is_in_two_splits_and_strangers_are_of_another_video():
    groups = [set(getattr(phantom(), split).table["group"]) for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8
    for split in SPLITS:
        part = getattr(phantom(), split)
        batch = part.__getitems__(range(len(part)))
        for own, other in (("image", "stranger"), ("target", "target_stranger")):
            assert all(not torch.equal(one, another) for one, another in zip(batch[own], batch[other], strict=True))


def test_a_stranger_comes_from_the_next_other_video():
    made = [clips.Clip(np.zeros(0), None, None, str(n), group) for n, group in enumerate("aabc")]
    assert [clips.stranger(made, n) for n in range(4)] == [2, 2, 3, 0]
    assert clips.stranger(made[:2], 0) == 0, "there is none"


def test_padding_repeats_the_last_frame():
    frames = np.arange(3)[:, None, None, None]
    assert clips.padded(frames, 5).ravel().tolist() == [0, 1, 2, 2, 2]


def test_palette_and_tone_are_those_of_the_target_centres_training_clips():
    train = phantom().train
    videos = train.tensors["target"].double() / 255
    wanted = histogram(videos, 256).mean(0)
    torch.testing.assert_close(train.tensors["palette"].double(), wanted, atol=1e-7, rtol=0)
    from kornia.color import rgb_to_lab

    lab = rgb_to_lab(videos.transpose(1, 2).flatten(0, 1)).transpose(0, 1).flatten(1)
    found = torch.stack([lab.mean(1), lab.std(1, unbiased=False)])
    torch.testing.assert_close(train.tensors["tone"].double(), found, atol=0.05, rtol=0)


def test_fingerprint_tells_data_apart():
    assert phantom().fingerprint == data.open_data("endoscopy", **SMALL).fingerprint
    different = {phantom(**change).fingerprint for change in ({}, {"data_seed": 1}, {"shift": 0.5}, {"frames": 5})}
    assert len(different) == 4


def test_more_of_one_split_changes_nothing_of_another():
    more = phantom(train=4)
    for key in ("image", "target"):
        assert torch.equal(more.train.tensors[key][:3], phantom().train.tensors[key])
        assert torch.equal(more.test.tensors[key], phantom().test.tensors[key])


# ---------------------------------------------------------------- phantoms


def test_frames_move_as_the_true_motion_says():
    """Moved along, a frame differs from the next by its noise alone, and without moving by much more."""
    batch = usual().test.__getitems__(range(8))
    inner = np.s_[..., 10:-10, 10:-10]
    for time in range(7):
        before, after = batch["image"][:, :, time], batch["image"][:, :, time + 1]
        moved = warp(before, batch["flow"][:, :, time])
        noise = phantoms.Recording.noise
        still, error = ((one - after)[inner].abs().mean() for one in (before, moved))
        assert error < 1.5 * noise < still


def test_the_polyp_moves_with_the_scene():
    batch = usual().test.__getitems__(range(8))
    for time in range(7):
        moved = warp(batch["label"][:, :, time].float(), batch["flow"][:, :, time])
        both = (moved > 0.5) & (batch["label"][:, :, time + 1] > 0)
        assert 2 * both.sum() / ((moved > 0.5).sum() + (batch["label"][:, :, time + 1] > 0).sum()) > 0.95


def test_motion_by_hand():
    """A camera that turns by 90 degrees about the middle and then steps aside by two pixels."""
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    path = phantoms.Path(np.stack([np.eye(2), quarter, quarter]), np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]))
    pixel = np.array([1.0, 3.0]).reshape(2, 1, 1)
    assert path.motion(0, pixel).ravel().tolist() == pytest.approx([-3 - 1, 1 - 3])
    assert path.motion(1, pixel).ravel().tolist() == pytest.approx([0, -2])


def test_every_clip_shows_a_polyp_of_usual_size():
    for split in SPLITS:
        for key in ("label", "target_label"):
            share = (getattr(usual(), split).tensors[key] > 0).float().mean((1, 3, 4))
            if split != "valid" or key != "label":
                assert share.min() > 0.02 and share.max() < 0.3


def test_looks_differ_from_video_to_video_at_one_centre_only():
    colors = {key: usual().test.tensors[key].float().mean((2, 3, 4)) / 255 for key in ("image", "target")}
    assert colors["image"].std(0).min() > 2 * colors["target"].std(0).max()
    within = usual().test.tensors["image"].float().mean((3, 4)) / 255  # (clips, channels, frames)
    assert within.std(2).max() < 0.3 * colors["image"].std(0).min(), "one look for all frames of a video"


def test_without_shift_the_centres_look_alike():
    same = data.open_data("endoscopy", shift=0.0, train=8, valid=2, test=8)
    means = [same.train.tensors[key].float().mean((0, 2, 3, 4)) / 255 for key in ("image", "target")]
    assert (means[0] - means[1]).abs().max() < 0.05


def test_a_recording_by_hand():
    frame, pixels = np.full((5, 5, 3), 0.25), np.mgrid[:5, :5] - 2
    look = phantoms.Recording(np.array([2.0, 1.0, 8.0]), 0.5, 0.0, noise=0.0)
    found = phantoms.recorded(np.random.default_rng(0), frame, look, pixels)
    assert found[0, 0].tolist() == [round(255 * 0.5**0.5), round(255 * 0.5), 255]
    dark = phantoms.Recording(np.ones(3), 1.0, 0.4, noise=0.0)
    found = phantoms.recorded(np.random.default_rng(0), frame, dark, pixels)
    assert found[2, 2, 0] == round(255 * 0.25) and found[0, 0, 0] == round(255 * 0.25 * (1 - 0.4 * 8 / 12.5))


# ---------------------------------------------------------------- folders


def picture(seed, size=(24, 32)):
    """(H, W, 3) uint8: a smooth scene that moves with the seed's last digit."""
    rng = np.random.default_rng(seed // 10)
    y, x = np.mgrid[: size[0], : size[1]]
    x = 0.3 * (x + 2 * (seed % 10))
    waves = [np.sin(f * x + p) + np.cos(0.25 * y * g) for f, p, g in rng.uniform(0.5, 2, (3, 3))]
    return np.uint8(np.clip(127 + 50 * np.stack(waves, -1), 0, 255))


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


def disc(size=(24, 32), at=(12, 16)):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.uint8(255 * (np.hypot(y - at[0], x - at[1]) < 6))


def centre(root, name, videos=4, frames=5, masks=True, ending="png", first=1):
    """A centre of frame folders with masks beside."""
    for video in range(videos):
        for frame in range(frames):
            where = f"v{video}/{first + frame:04d}"
            save(root / name / "images" / f"{where}.{ending}", picture(100 * len(name) + 10 * video + frame))
            if masks:
                save(root / name / "masks" / f"{where}.png", disc())


def options(**changes):
    counts = {"size": 32, "train": 2, "valid": 1, "test": 1, "frames": 4}
    return Options(**(counts | {"source_set": "new", "target_set": "home"} | changes))


@pytest.fixture
def root(tmp_path):
    centre(tmp_path, "new")
    centre(tmp_path, "home")
    return tmp_path


def test_frame_folders_are_read(root):
    found = endoscopy.load(root, options())
    assert found.name == "new-to-home" and found.labels == {"polyp": (1,)} and not found.aside
    assert [len(getattr(found, split)) for split in SPLITS] == [4, 1, 1]
    batch = found.test.__getitems__([0])
    assert batch["image"].shape == (1, 3, 4, 32, 32) and batch["length"].tolist() == [3]
    assert 0.1 < (batch["label"] == 1).float().mean() < 0.2 and "flow" in batch
    groups = [set(getattr(found, split).table["group"]) for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert not any("v0" in case for split in SPLITS for case in getattr(found, split).table["case"])


def test_pixels_and_masks_are_those_of_the_files(tmp_path):
    for name in ("new", "home"):
        for video in range(3):
            for frame in range(2):
                save(tmp_path / name / "images" / f"v{video}" / f"{frame}.png", picture(10 * video + frame, (32, 32)))
                save(tmp_path / name / "masks" / f"v{video}" / f"{frame}_mask.png", disc((32, 32), (8, 20)))
    found = endoscopy.load(tmp_path, options(train=1))
    frames = found.test.tensors["image"][0, :, :2].permute(1, 2, 3, 0).numpy()
    assert any(all(np.array_equal(frames[t], picture(10 * v + t, (32, 32))) for t in (0, 1)) for v in range(3))
    assert np.array_equal(found.test.tensors["label"][0, 0, 0].numpy(), disc((32, 32), (8, 20)) > 0)


def test_a_long_video_becomes_clips_of_nearly_equal_length(root):
    for frame in range(5, 11):
        for name in ("new", "home"):
            save(root / name / "images" / "v1" / f"{frame + 1:04d}.png", picture(10 + frame % 10))
            save(root / name / "masks" / "v1" / f"{frame + 1:04d}.png", disc())
    (video,) = [v for v in layouts.find(root)["new"].videos if v.name == "v1"]
    lengths = [len(clip.frames) for clip in folders.clips_of(video, root, options(), "image")]
    assert lengths == [4, 4, 3]


def test_cvc_clinicdb_goes_by_its_table_of_sequences(tmp_path):
    for name in ("new", "home"):
        for number in range(1, 13):
            save(tmp_path / name / "Original" / f"{number}.tif", picture(10 * ((number - 1) // 3) + number % 3))
            save(tmp_path / name / "Ground Truth" / f"{number}.tif", disc())
        rows = [f"{number},{(number - 1) // 3 + 1},Original/{number}.tif" for number in range(1, 13)]
        (tmp_path / name / "metadata.csv").write_text("\n".join(["frame_id,sequence_id,path", *rows]))
    found = layouts.find(tmp_path)["new"]
    assert [len(video.frames) for video in found.videos] == [3, 3, 3, 3] and found.labelled and not found.lacking
    assert [frame.number for frame in found.videos[1].frames] == [4, 5, 6], "in the order of numbers, not of names"
    assert len(endoscopy.load(tmp_path, options()).train) == 4


def flat(root, name, shots=4, each=3):
    for number in range(shots * each):
        save(root / name / "images" / f"{number + 1}.png", picture(10 * (number // each) + number % each))
        save(root / name / "masks" / f"p{number + 1}.png", disc())


def test_etis_larib_needs_a_table_or_is_cut_by_likeness(tmp_path):
    flat(tmp_path, "new")
    flat(tmp_path, "home")
    refused(lambda: endoscopy.load(tmp_path, options()), "which video", "sequences=shots")
    found = layouts.find(tmp_path, "shots")["new"]
    assert [[frame.number for frame in v.frames] for v in found.videos] == [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
        [10, 11, 12],
    ]
    assert len(endoscopy.load(tmp_path, options(sequences="shots")).train) == 4
    for name in ("new", "home"):
        rows = [f"{number + 1}.png,s{number // 4}" for number in range(12)]
        (tmp_path / name / "videos.csv").write_text("\n".join(["image,video", *rows]))
    assert [len(video.frames) for video in layouts.find(tmp_path)["new"].videos] == [4, 4, 4]
    (tmp_path / "new" / "videos.csv").write_text("image,video\n1.png,a\n")
    refused(lambda: endoscopy.load(tmp_path, options()), "a row for every frame", "12.png")


def test_camvid_has_a_cloudy_and_a_sunny_part_and_its_own_classes(tmp_path):
    for part in ("train", "val", "test"):
        for number in range(4):
            for name in (f"0001TP_{number:06d}", f"0016E5_{30 * number:05d}", f"Seq05VD_f{30 * number:05d}"):
                save(tmp_path / part / f"{name}.png", picture(10 + number))
                values = np.full((24, 32), 11, np.uint8)
                values[:8], values[8:16] = 0, 3
                save(tmp_path / f"{part}annot" / f"{name}.png", values)
    sets = layouts.find(tmp_path)
    assert set(sets) == {"cloudy", "sunny"}
    assert {video.name.split("-")[0] for video in sets["sunny"].videos} == {"0016E5", "Seq05VD"}
    found = endoscopy.load(tmp_path, options(source_set="cloudy", target_set="sunny"))
    assert found.labels["sky"] == (1,) and found.labels["road"] == (4,) and len(found.labels) == 11
    assert found.spec["classes"].split(",") == list(found.labels)
    label = found.test.tensors["label"][0, 0, 0]
    assert label[:10].unique().tolist() == [1] and label[12:20].unique().tolist() == [4]
    assert label[23:].unique().tolist() == [0], "what is not labelled"
    save(tmp_path / "testannot" / "0001TP_000000.png", np.full((24, 32), 12, np.uint8))
    refused(
        lambda: endoscopy.load(tmp_path, options(source_set="cloudy", target_set="sunny", test=9)), "from 0 to 11", "12"
    )


def test_the_translated_centre_may_have_no_masks_but_not_the_target(tmp_path):
    centre(tmp_path, "new", masks=False)
    centre(tmp_path, "home")
    found = endoscopy.load(tmp_path, options())
    assert set(found.test.tensors["label"].unique().tolist()) == {-1}
    refused(lambda: endoscopy.load(tmp_path, options(source_set="home", target_set="new")), "new", "masks", "none")


def test_motion_is_estimated_where_it_is_not_known(root):
    """Scenes shift by two pixels of 32 between frames, so that what stands at x stood two pixels to the right."""
    for name in ("new", "home"):
        for video in range(4):
            for frame in range(5):
                save(
                    root / name / "images" / f"v{video}" / f"{frame + 1:04d}.png", picture(10 * video + frame, (32, 32))
                )
                save(root / name / "masks" / f"v{video}" / f"{frame + 1:04d}.png", disc((32, 32)))
    batch = endoscopy.load(root, options()).test.__getitems__([0])
    moved = warp(batch["image"][:, :, 0], batch["flow"][:, :, 0])
    inner = np.s_[..., 4:-4, 4:-4]
    errors = [(one - batch["image"][:, :, 1])[inner].abs().mean() for one in (batch["image"][:, :, 0], moved)]
    assert errors[1] < 0.4 * errors[0]
    assert batch["flow"][0, 1, 0, 8:-8, 8:-8].median().item() == pytest.approx(2, abs=0.5)


# ---------------------------------------------------------------- bad input


def test_a_folder_that_is_none_of_the_layouts(tmp_path):
    refused(lambda: endoscopy.load(tmp_path / "none", options()), "a folder", "check the path")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("hello")
    refused(lambda: endoscopy.load(tmp_path, options()), "Original and Ground Truth", "none of these")


def test_centres_must_be_chosen(root):
    for change, words in (
        ({"source_set": ""}, ("source_set", "home, new")),
        ({"target_set": "hom"}, ("did you mean home",)),
        ({"target_set": "new"}, ("another centre",)),
    ):
        refused(lambda change=change: endoscopy.load(root, options(**change)), *words, error=InvalidParameter)


def spoil(root, kind):
    """Make one video of the new centre bad in one way; returns words of the error."""
    where = root / "new" / "images" / "v2"
    masks = root / "new" / "masks" / "v2"
    if kind == "one frame":
        for number in range(2, 6):
            (where / f"{number:04d}.png").unlink()
            (masks / f"{number:04d}.png").unlink()
        return "at least two frames", "found 1"
    if kind == "size":
        save(where / "0003.png", picture(1, (24, 48)))
        return "0003.png", "24 x 32", "24 x 48"
    if kind == "gap":
        (where / "0003.png").unlink()
        (masks / "0003.png").unlink()
        return "without a gap", "0002.png"
    if kind == "constant":
        save(where / "0004.png", np.full((24, 32, 3), 99, np.uint8))
        return "0004.png", "one colour"
    if kind == "frozen":
        for number in range(1, 6):
            save(where / f"{number:04d}.png", picture(7))
        return ("the same picture 5 times",)
    if kind == "damaged":
        (where / "0002.png").write_bytes((where / "0002.png").read_bytes()[:200])
        return "0002.png", "damaged"
    modes = {"grey": ("L", "grey"), "cmyk": ("CMYK", "CMYK"), "ycbcr": ("YCbCr", "YCbCr"), "lab": ("LAB", "LAB")}
    mode, word = modes[kind]
    for number in range(1, 6):
        (where / f"{number:04d}.png").unlink()
        pixels = Image.fromarray(picture(number))
        pixels = Image.fromarray(np.asarray(pixels), "LAB") if mode == "LAB" else pixels.convert(mode)
        pixels.save(where / f"{number:04d}.tif")
    return "a frame in RGB", word


KINDS = ("one frame", "size", "gap", "constant", "frozen", "damaged", "grey", "cmyk", "ycbcr", "lab")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_video_is_refused_in_one_line_and_set_aside(root, kind):
    words = spoil(root, kind)
    (video,) = [video for video in layouts.find(root)["new"].videos if video.name == "v2"]
    refused(lambda: folders.examine(video), *words)
    found = endoscopy.load(root, options())
    assert [name for name, _ in found.aside] == ["v2"] and all(word in found.aside[0][1] for word in words[1:2])
    lines = list(endoscopy.check(root, options()))
    assert sum("set aside: v2" in line for line in lines) == 1


@pytest.mark.parametrize("kind", ["one frame", "constant", "grey"])
def test_where_every_video_is_bad_the_first_reason_is_told(tmp_path, kind):
    centre(tmp_path, "home")
    centre(tmp_path, "new", videos=3)
    for number in (0, 1):
        for part in ("images", "masks"):
            for path in (tmp_path / "new" / part / f"v{number}").iterdir():
                path.unlink()
            (tmp_path / "new" / part / f"v{number}").rmdir()
    words = spoil(tmp_path, kind)
    refused(lambda: endoscopy.load(tmp_path, options()), *words)


def test_masks_that_do_not_match_are_all_named(root):
    (root / "new" / "masks" / "v0" / "0002.png").unlink()
    save(root / "home" / "masks" / "v9" / "0001.png", disc())
    refused(lambda: endoscopy.load(root, options()), "new: v0/0002 has no mask", "home: mask v9/0001 has no frame")


def test_a_mask_of_another_size_than_its_frame(root):
    for number in range(4):
        save(root / "home" / "masks" / f"v{number}" / "0001.png", disc((24, 30)))
    refused(lambda: endoscopy.load(root, options()), "0001.png", "24 x 32", "24 x 30")


def test_numbers_may_start_anywhere_and_step_evenly(tmp_path):
    for name in ("new", "home"):
        for video in range(3):
            for frame in range(4):
                save(tmp_path / name / f"v{video}" / f"img_{90 + 30 * frame}.png", picture(10 * video + frame))
    found = layouts.find(tmp_path)["new"]
    for video in found.videos:
        folders.examine(video)
    assert [frame.number for frame in found.videos[0].frames] == [90, 120, 150, 180]


def test_too_few_videos_for_three_splits(tmp_path):
    centre(tmp_path, "new", videos=2)
    centre(tmp_path, "home")
    refused(lambda: endoscopy.load(tmp_path, options()), "new", "at least three videos", "found 2")


def test_clips_are_of_two_frames_at_least():
    refused(lambda: Options(frames=1), "frames", "at least 2", error=InvalidParameter)


def test_check_tells_what_would_be_used(root):
    lines = list(endoscopy.check(root, options()))
    assert "new: 4 videos, 20 masks, 0 without a partner" in lines
    assert sum("frames, from" in line for line in lines) == 8
    lines = list(endoscopy.check(root, options(source_set="")))
    assert lines[-1] == "choose the centres: source_set and target_set, each one of home, new"


# ---------------------------------------------------------------- video files


def movies(root):
    centre(root, "home")
    for number in range(3):
        path = root / "new" / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not a film")


def test_video_files_without_a_decoder(tmp_path, monkeypatch):
    movies(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n in ("av", "imageio_ffmpeg") else found(n))
    refused(lambda: endoscopy.load(tmp_path, options()), "0.mp4", "a decoder of video files", "ffmpeg -i")


def test_video_files_with_a_decoder(tmp_path, monkeypatch):
    movies(tmp_path)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "av" else found(name))
    asked = []

    def imread(path, plugin):
        asked.append(plugin)
        return np.stack([picture(10 * int(path.stem) + frame) for frame in range(6)])

    fake = types.ModuleType("imageio")
    fake.v3 = types.SimpleNamespace(imread=imread)
    monkeypatch.setitem(sys.modules, "imageio", fake)
    made = endoscopy.load(tmp_path, options())
    assert set(asked) == {"pyav"} and made.test.tensors["length"].tolist() == [3]
    assert set(made.test.tensors["label"].unique().tolist()) == {-1}


@pytest.mark.skipif(not importlib.util.find_spec("av"), reason="PyAV is not installed")
def test_a_file_that_is_no_film(tmp_path):
    movies(tmp_path)
    refused(lambda: endoscopy.load(tmp_path, options()), "0.mp4", "intact video")
