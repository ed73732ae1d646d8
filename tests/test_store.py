"""Stores of images: what is packed, how a pack goes on, what is refused, and that trainings see the same as without."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from workbench import fit, method
from workbench.__main__ import main
from workbench.config import Config
from workbench.data import check, open_data
from workbench.data import io as images
from workbench.data.asoct.halves import resized
from workbench.data.store import Packing, Store, folder, pack, packing
from workbench.data.store.listing import listed
from workbench.data.store.packing import square, windowed
from workbench.errors import InvalidImage, InvalidParameter

SMALL = Packing(size=32)
SPLITS = ("train", "valid", "test")


def noise(number: int, shape=(40, 36), top: int = 256, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, top, shape).astype(dtype)


def written(root: Path, count: int = 12) -> Path:
    """A folder of grey noise; two images a patient."""
    (root / "deep").mkdir(parents=True)
    for number in range(count):
        Image.fromarray(noise(number)).save(root / "deep" / f"{number // 2:05d}_{number % 2:03d}.png")
    return root


@pytest.fixture
def source(tmp_path) -> Path:
    return written(tmp_path / "src")


@pytest.fixture
def store(source, tmp_path) -> Path:
    pack(source, tmp_path / "store", SMALL)
    return tmp_path / "store"


def refused(act, *told: str) -> str:
    with pytest.raises(InvalidImage) as error:
        act()
    text = str(error.value)
    assert all(word in text for word in told), text
    assert "\n" not in text
    return text


# ---------------------------------------------------------------- what is packed


def test_a_store_holds_the_pixels_that_reading_the_files_gives(source, store):
    packed = Store(store)
    files = sorted((source / "deep").iterdir())
    wanted = np.stack([resized(images.read_image(path), 32)[None] for path in files])
    assert len(packed) == 12 and packed.paths == [f"deep/{path.name}" for path in files]
    assert np.array_equal(packed.pixels(range(12)).numpy(), wanted)
    assert np.array_equal(np.load(store / "pixels.npy", mmap_mode="r"), wanted), "an ordinary memory map"
    assert packed.sizes.tolist() == [[40, 36]] * 12
    batch = packed.__getitems__([7, 2])["image"]
    assert batch.dtype == torch.float32 and torch.equal(batch * 255, torch.from_numpy(wanted[[7, 2]]).float())
    assert torch.equal(packed[2]["image"], batch[1])


def test_processes_pack_what_one_does(source, store, tmp_path):
    (source / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    one, other = pack(source, tmp_path / "one", SMALL), pack(source, tmp_path / "two", SMALL, jobs=2)
    assert one.refused == other.refused and one.count == other.count == 12
    assert Store(one.root).fingerprint == Store(other.root).fingerprint
    assert (tmp_path / "one/pixels.npy").read_bytes() == (tmp_path / "two/pixels.npy").read_bytes()


def test_files_that_cannot_be_read_are_listed_and_skipped(source, tmp_path, capsys):
    (source / "deep" / "00000_000.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (source / "zz.png").write_bytes(b"")
    main(["data", "pack", str(source), str(tmp_path / "st"), "--size", "32", "--jobs", "1"])
    assert capsys.readouterr().out.startswith(f"11 images in {tmp_path / 'st'}; 2 set aside, see ")
    packed = Store(tmp_path / "st")
    assert len(packed) == 11 and "deep/00000_000.png" not in packed.paths
    assert [name for name, _ in packed.refused] == ["deep/00000_000.png", "zz.png"]
    assert "found an empty file" in dict(packed.refused)["zz.png"]
    wanted = resized(images.read_image(source / "deep" / "00000_001.png"), 32)
    assert np.array_equal(packed.pixels([0])[0, 0].numpy(), wanted), "rows are those of the images that are there"
    Image.fromarray(noise(3)).save(source / "zz.png")
    assert pack(source, tmp_path / "st", SMALL).count == 12, "a file that was mended is packed by the same command"
    assert Store(tmp_path / "st").paths[-1] == "zz.png" and len(Store(tmp_path / "st").refused) == 1


def test_colours_become_luma_or_stay(tmp_path):
    (tmp_path / "src").mkdir()
    Image.fromarray(noise(1, (40, 40, 3))).save(tmp_path / "src" / "a.png")
    Image.fromarray(noise(2, (40, 40))).save(tmp_path / "src" / "b.png")
    pack(tmp_path / "src", tmp_path / "grey", Packing(size=32))
    pack(tmp_path / "src", tmp_path / "rgb", Packing(size=32, channels=3))
    grey, rgb = Store(tmp_path / "grey").pixels([0, 1]), Store(tmp_path / "rgb").pixels([0, 1])
    assert grey.shape == (2, 1, 32, 32) and rgb.shape == (2, 3, 32, 32)
    assert torch.equal(rgb[1], grey[1].expand(3, -1, -1)) and not torch.equal(rgb[0, 0], rgb[0, 1])
    plain = images.read_image(tmp_path / "src" / "a.png", color=False)
    assert np.array_equal(grey[0, 0].numpy(), resized(plain, 32)), "8-bit colours are not stretched"


def test_deep_images_keep_their_contrast_unless_told_otherwise(tmp_path):
    values = noise(1, (200, 200), 1001, np.uint16) + 2000  # 12 bits in 16
    Image.fromarray(values).save(tmp_path / "a.png")
    header = folder.Header(1, 1, 32, "auto", "")
    image, height, width = square(tmp_path / "a.png", header)
    assert (height, width) == (200, 200) and image.std() > 5 and abs(image.mean() - 127) < 5
    full, *_ = square(tmp_path / "a.png", folder.Header(1, 1, 32, "full", ""))
    assert full.max() < 13 and full.std() < 0.5
    ends = windowed(values.astype(np.float32) / 65535)
    low, high = np.percentile(values, (0.1, 99.9))
    assert np.allclose(ends, ((values - low) / (high - low)).clip(0, 1), atol=1e-4)
    shallow = noise(2).astype(np.float32) / 255
    assert windowed(shallow) is shallow
    assert np.array_equal(windowed(np.full((4, 4), 0.123, np.float32)), np.full((4, 4), 0.123, np.float32))


# ---------------------------------------------------------------- lists and tables


def test_a_table_tells_which_files_and_its_columns_are_kept(source, tmp_path):
    lines = ["file;patient;nodule", "deep/00001_001.png;p1;1", "00004_000.png;p2;0", "gone.png;p3;1"]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    made = pack(source, tmp_path / "st", SMALL, table=tmp_path / "table.csv")
    packed = Store(tmp_path / "st")
    assert made.count == 2 and packed.paths == ["deep/00001_001.png", "deep/00004_000.png"], "found by name below"
    assert packed.index["patient"].to_pylist() == ["p1", "p2"] and packed.index["nodule"].to_pylist() == ["1", "0"]
    assert made.refused[0][0] == "gone.png" and "nothing of that name" in made.refused[0][1]


def test_a_text_list_is_a_source_with_findings_after_the_path(source, tmp_path):
    (source / "list.txt").write_text("deep/00003_000.png 0 1\ndeep/00000_000.png 1 0\n")
    listing = listed(source / "list.txt")
    assert listing.files == [source / "deep/00003_000.png", source / "deep/00000_000.png"]
    assert listing.index["finding_2"].to_pylist() == ["1", "0"]
    (source / "plain.txt").write_text("deep/00003_000.png\na name.png\n")
    assert listed(source / "plain.txt").files == [source / "deep/00003_000.png", source / "a name.png"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "name,label\nx.png,1\n", "expected a column file, image"),
        ("a.csv", "file\nx.png\n", "images of this list below src, found none"),
        ("a.csv", "file\ndeep/00000_000.png\ndeep/00000_000.png\n", "2 for deep/00000_000.png"),
        ("a.txt", "deep/00000_000.png 1\ndeep/00001_000.png 0 1\n", "found 1, 2 labels"),
        ("a.txt", "\n", "expected a path a line, found no line"),
    ],
)
def test_lists_that_cannot_serve_are_told(source, tmp_path, name, text, told):
    (tmp_path / name).write_text(text)
    refused(lambda: pack(source, tmp_path / "st", SMALL, table=tmp_path / name), told)


# ---------------------------------------------------------------- going on


def stopped(source: Path, root: Path, monkeypatch, after: int) -> None:
    """A pack that is interrupted when so many images are decoded."""
    real, count = packing.square, iter(range(after))

    def some(path, header):
        if next(count, None) is None:
            raise KeyboardInterrupt
        return real(path, header)

    with monkeypatch.context() as patch:
        patch.setattr(packing, "PIECE", 2)
        patch.setattr(packing, "square", some)
        with pytest.raises(KeyboardInterrupt) as told:
            pack(source, root, SMALL)
    assert str(told.value).endswith("of 12 images; the same command goes on")


def test_a_pack_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(source, store, tmp_path, monkeypatch):
    stopped(source, tmp_path / "st", monkeypatch, 7)
    rows = np.load(tmp_path / "st" / "rows.npy")
    assert rows["state"].tolist() == [1] * 6 + [0] * 6
    refused(lambda: Store(tmp_path / "st"), "packed to its end, found one cut off at 6 of 12", "workbench data pack")
    read, real = [], packing.square
    monkeypatch.setattr(packing, "square", lambda path, header: read.append(path.name) or real(path, header))
    assert pack(source, tmp_path / "st", SMALL).count == 12
    assert read == [path.name for path in sorted((source / "deep").iterdir())[6:]]
    assert Store(tmp_path / "st").fingerprint == Store(store).fingerprint
    assert (tmp_path / "st" / "pixels.npy").read_bytes() == (store / "pixels.npy").read_bytes()


def test_a_row_that_was_not_noted_is_packed_again(source, store, tmp_path, monkeypatch):
    """Half a row is on the disk, but nothing says that it is whole."""
    stopped(source, tmp_path / "st", monkeypatch, 4)
    with open(tmp_path / "st" / "pixels.npy", "r+b") as file:
        file.seek(-5 * 1024 - 500, os.SEEK_END)
        file.write(b"\7" * 600)
    pack(source, tmp_path / "st", SMALL)
    assert (tmp_path / "st" / "pixels.npy").read_bytes() == (store / "pixels.npy").read_bytes()


def test_rows_are_noted_only_after_their_pixels_are_on_the_disk(source, tmp_path, monkeypatch):
    events, real = [], os.fsync

    def synced(number):
        name = Path(os.readlink(f"/proc/self/fd/{number}")).name
        marked = np.load(tmp_path / "st" / "rows.npy")["state"].sum() if name == "pixels.npy" else -1
        events.append((name, int(marked)))
        real(number)

    if not Path("/proc/self/fd").exists():
        pytest.skip("no /proc")
    monkeypatch.setattr(packing, "PAUSE", 0.0)
    monkeypatch.setattr(packing, "PIECE", 4)
    monkeypatch.setattr(os, "fsync", synced)
    pack(source, tmp_path / "st", SMALL)
    assert [marked for name, marked in events if name == "pixels.npy"][:3] == [0, 4, 8]
    assert events[-1][0].startswith(".store.json"), "the header says done last of all"


def test_a_killed_pack_goes_on(source, tmp_path):
    """kill -9 of the whole process, at a moment when some rows are noted."""
    code = f"""
import time
from workbench.data.store import packing
packing.PIECE, packing.PAUSE, real = 1, 0.0, packing.square
packing.square = lambda path, header: time.sleep(0.1) or real(path, header)
packing.pack({str(source)!r}, {str(tmp_path / "st")!r}, packing.Packing(size=32))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    rows = tmp_path / "st" / "rows.npy"
    for _ in range(600):
        if (tmp_path / "st" / "store.json").exists() and (np.load(rows)["state"]).sum() >= 3:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= np.load(rows)["state"].sum() < 12
    assert pack(source, tmp_path / "st", SMALL).count == 12
    packed = Store(tmp_path / "st")
    assert packed.damaged(range(12)) == []


def test_two_packs_do_not_write_one_store(source, store):
    with packing.alone(store):
        refused(lambda: pack(source, store, SMALL), "one that is being packed")


# ---------------------------------------------------------------- refusals


def test_a_store_made_with_other_settings_is_refused(source, store):
    text = refused(lambda: pack(source, store, Packing(size=48)), "--size 48", "found --size 32", "another folder")
    assert "--channels 1" in text


def test_files_that_changed_since_are_told(source, store):
    path = source / "deep" / "00002_001.png"
    Image.fromarray(noise(99)).save(path)
    os.utime(path, ns=(1, 1))
    refused(lambda: pack(source, store, SMALL), "found 1 that changed since, such as 00002_001.png")
    path.unlink()
    (source / "new.png").write_bytes(b"x")
    refused(lambda: pack(source, store, SMALL), "found 1 new and 1 gone")


def test_another_table_is_told(source, store, tmp_path):
    names = [path.relative_to(source).as_posix() for path in listed(source).files]
    (tmp_path / "t.csv").write_text("\n".join(["file,patient", *(f"{name},p" for name in names)]) + "\n")
    refused(lambda: pack(source, store, SMALL, table=tmp_path / "t.csv"), "other columns or order")


def test_too_small_a_disk_is_told_before_anything_is_decoded(source, tmp_path, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda place: Free())
    monkeypatch.setattr(packing, "square", None)
    refused(lambda: pack(source, tmp_path / "st", SMALL), "GB of free disk, found 0.0 GB", "--size")
    assert not (tmp_path / "st" / "pixels.npy").exists()


class Free:
    free = 1000


def test_sources_and_places_that_cannot_serve_are_told(source, tmp_path):
    refused(lambda: pack(tmp_path / "none", tmp_path / "st", SMALL), "nothing of that name")
    (tmp_path / "empty").mkdir()
    refused(lambda: pack(tmp_path / "empty", tmp_path / "st", SMALL), "a folder with images in it, found none")
    refused(lambda: pack(source, source, SMALL), "a new folder, or a store, found one with deep")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    refused(lambda: pack(tmp_path / "bad", tmp_path / "st2", SMALL), "one image that can be read, found a.png")
    with pytest.raises(InvalidParameter, match="jobs"):
        pack(source, tmp_path / "st3", SMALL, jobs=0)


def edited(store: Path, **values) -> None:
    header = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps(header | values))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda s: edited(s, version=2), "expected a store of version 1, found version 2"),
        (lambda s: (s / "store.json").write_text("{"), "the header of a store, found damaged text"),
        (lambda s: (s / "store.json").write_text("[]"), "the header of a store, found damaged text"),
        (lambda s: edited(s, more=1), "the header of a store, found damaged text"),
        (lambda s: edited(s, done=False), "found one cut off at 12 of 12; run `workbench data pack SRC store`"),
        (lambda s: (s / "store.json").unlink(), "a folder without store.json"),
        (lambda s: os.truncate(s / "pixels.npy", 9000), "12 images of 32 x 32 pixels, 12416 bytes, found 9000 bytes"),
        (lambda s: os.truncate(s / "pixels.npy", 20), "found a damaged or missing file"),
        (lambda s: (s / "pixels.npy").unlink(), "found a damaged or missing file"),
        (lambda s: np.save(s / "pixels.npy", np.zeros((3, 3))), "found an array of shape (3, 3)"),
        (lambda s: os.truncate(s / "rows.npy", 200), "store/rows.npy: expected 12 rows"),
        (lambda s: np.save(s / "rows.npy", np.zeros(12)), "store/rows.npy: expected 12 rows"),
    ],
)
def test_damaged_stores_are_told_when_opened(store, damage, told):
    damage(store)
    refused(lambda: Store(store), told)


def test_an_index_that_is_damaged_is_told_when_read(store):
    packed = Store(store)
    (store / packed.header.index).write_bytes(b"PAR1 and no more")
    assert packed.__getitems__([0])["image"].shape == (1, 1, 32, 32)
    refused(lambda: packed.paths, "the index of this store, found a damaged or other file")


def test_a_store_cut_off_under_way_is_an_error_and_no_crash(store):
    packed = Store(store)
    os.truncate(store / "pixels.npy", 5000)
    refused(lambda: packed.pixels([0, 11]), "an end before image 11")


def test_pixels_that_changed_are_found(store):
    with open(store / "pixels.npy", "r+b") as file:
        file.seek(-1500, os.SEEK_END)
        file.write(b"\1\2\3")
    assert Store(store).damaged(range(12)) == [10]


# ---------------------------------------------------------------- training from a store


def test_a_store_goes_to_workers_by_name_alone(store):
    packed = Store(store)
    assert len(pickle.dumps(packed)) < 300
    again = pickle.loads(pickle.dumps(packed))
    assert torch.equal(again.pixels([3]), packed.pixels([3]))
    budget = fit.Budget(batch=4, workers=2)
    for workers in (0, 2):
        budget = fit.Budget(batch=4, workers=workers)
        batches = [batch["image"] for batch in fit.loader(packed, budget, seed=1, epoch=1, skip=0)]
        order = fit.order(12, 1, 1)
        assert torch.equal(torch.cat(batches) * 255, packed.pixels(order).float()), "the loop's own order"


def test_processes_read_their_own_shares(store, monkeypatch):
    packed, budget, shares = Store(store), fit.Budget(batch=4), []
    for number in (0, 1):
        monkeypatch.setattr(fit, "world", lambda: 2)
        monkeypatch.setattr(fit, "rank", lambda number=number: number)
        shares.append([batch["image"] for batch in fit.loader(packed, budget, seed=0, epoch=1, skip=0)])
    together = torch.cat([torch.cat(pair) for pair in zip(*shares, strict=True)])
    assert torch.equal(together * 255, packed.pixels(fit.order(12, 0, 1)).float())


def labelled(root: Path, count: int = 40) -> Path:
    """A folder in the house's layout: images/, labels.csv with patients, two findings and a text column."""
    (root / "images").mkdir(parents=True)
    lines = ["file,patient,nodule,effusion,age"]
    for number in range(count):
        Image.fromarray(noise(number)).save(root / "images" / f"{number:03d}.png")
        lines.append(f"{number:03d}.png,p{number % 17},{number % 2},{['0', '1', '-1', ''][number % 4]},{number}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


OPTIONS = {"size": 32, "train": 20, "valid": 5, "test": 8}


@pytest.mark.parametrize(
    "options", [{}, {"part": "unlabelled"}, {"labelled": 6}, {"data_seed": 3}, {"uncertain": "ignore"}]
)
def test_radiographs_of_a_store_are_those_of_the_folder(tmp_path, options):
    labelled(tmp_path / "src")
    pack(tmp_path / "src", tmp_path / "st", SMALL)
    one = open_data("radiograph", root=str(tmp_path / "src"), **OPTIONS | options)
    two = open_data("radiograph", root=str(tmp_path / "st"), **OPTIONS | options)
    assert one.spec == two.spec
    for name in SPLITS:
        a, b = getattr(one, name), getattr(two, name)
        assert a.table == b.table and len(a) == len(b) > 0
        for key, value in a.__getitems__(range(len(a))).items():
            assert torch.equal(value, b.__getitems__(range(len(b)))[key]), (name, key)
    again = open_data("radiograph", root=str(tmp_path / "st"), **OPTIONS | options)
    other = open_data("radiograph", root=str(tmp_path / "st"), **OPTIONS | options | {"train": 19, "data_seed": 5})
    assert again.fingerprint == two.fingerprint != other.fingerprint


def test_radiographs_of_a_store_are_checked_as_those_of_the_folder(tmp_path):
    labelled(tmp_path / "src")
    pack(tmp_path / "src", tmp_path / "st", SMALL)
    one, two = (list(check("radiograph", tmp_path / name, **OPTIONS)) for name in ("src", "st"))
    assert one == two and len(one) == 34


def test_official_test_images_and_views_of_a_table(tmp_path):
    labelled(tmp_path / "src")
    lines = (tmp_path / "src" / "labels.csv").read_text().splitlines()
    header = [lines[0] + ",split,Frontal/Lateral"]
    rest = [
        f"{line},{'test' if n % 17 < 3 else 'train'},{'Lateral' if n > 35 else 'Frontal'}"
        for n, line in enumerate(lines[1:])
    ]
    (tmp_path / "src" / "labels.csv").write_text("\n".join(header + rest) + "\n")
    pack(tmp_path / "src", tmp_path / "st", SMALL)
    data = open_data("radiograph", root=str(tmp_path / "st"), **OPTIONS | {"official": True, "train": 99, "valid": 9})
    packed = Store(tmp_path / "st")
    numbers = {name: [int(packed.paths[i][7:10]) for i in getattr(data, name).items.tolist()] for name in SPLITS}
    assert numbers["test"] == [n for n in range(36) if n % 17 < 3][:8]
    assert not {n % 17 for n in numbers["test"]} & {n % 17 for name in SPLITS[:2] for n in numbers[name]}
    assert len(numbers["train"] + numbers["valid"]) == len([n for n in range(36) if n % 17 >= 3])


def test_smaller_images_are_made_of_a_stores_and_larger_ones_refused(tmp_path, source, store):
    pack(source, tmp_path / "large", Packing(size=64))
    options = OPTIONS | {"part": "unlabelled", "train": 4, "valid": 1, "test": 1}
    data = open_data("radiograph", root=str(tmp_path / "large"), **options)
    assert data.train.__getitems__([0, 1])["image"].shape == (2, 1, 32, 32)
    whole, item = Store(tmp_path / "large"), int(data.train.items[0])
    wanted = resized(whole.pixels([item])[0, 0].numpy().astype(np.float32) / 255, 32)
    assert np.abs(data.train.__getitems__([0])["image"][0, 0].numpy() * 255 - wanted).max() < 0.51
    refused(
        lambda: open_data("radiograph", root=str(store), **options | {"size": 64}),
        "images of 64 pixels, found 32 in the store", "pack with --size 64",
    )  # fmt: skip
    refused(lambda: open_data("radiograph", root=str(store), **OPTIONS), "labels beside the images, found none")


def test_columns_that_are_no_findings_are_told_where_labels_are_needed(tmp_path):
    root = labelled(tmp_path / "src")
    text = (root / "labels.csv").read_text().splitlines()
    rest = [f"{line},tall" for line in text[1:]]
    (root / "labels.csv").write_text("\n".join([text[0] + ",height", *rest]) + "\n")
    pack(root, tmp_path / "st", SMALL)
    place = str(tmp_path / "st")
    refused(lambda: open_data("radiograph", root=place, **OPTIONS), "found 'tall' in height", "labels=")
    assert open_data("radiograph", root=place, labels="nodule", **OPTIONS).spec["labels"] == "nodule"
    assert open_data("radiograph", root=place, part="unlabelled", **OPTIONS).spec["labels"] == "nodule,effusion"
    with pytest.raises(InvalidParameter, match="did you mean nodule"):
        open_data("radiograph", root=place, labels="nodul", **OPTIONS)


class Means(method.Method):
    """Learns the mean pixel."""

    def __init__(self) -> None:
        super().__init__(Config())
        self.mean = torch.nn.Parameter(torch.zeros(1, 32, 32))

    def optimizers(self):
        return {"mean": torch.optim.SGD(self.parameters(), 0.1)}

    def updates(self, batch):
        yield "mean", (batch["image"] - self.mean).square().mean(), {}


def test_a_training_from_a_store_is_that_from_memory(tmp_path):
    labelled(tmp_path / "src")
    pack(tmp_path / "src", tmp_path / "st", SMALL)
    weights = []
    for root, workers in (("src", 0), ("st", 0), ("st", 2)):
        data = open_data("radiograph", root=str(tmp_path / root), part="unlabelled", **OPTIONS)
        budget = fit.Budget(epochs=2, valid_every=0, precision="float32", device="cpu", workers=workers)
        weights.append(fit.fit(Means(), data.train, budget).mean.detach())
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])
    assert weights[0].abs().sum() > 0


# ---------------------------------------------------------------- the command line


def test_the_command_line_packs_and_refuses_in_one_line(source, tmp_path, capsys):
    words = ["data", "pack", str(source), str(tmp_path / "st"), "--size", "32", "--jobs", "1"]
    main(words)
    assert capsys.readouterr().out == f"12 images in {tmp_path / 'st'}\n"
    for more, told in (
        (["--size", "48"], "found --size 32"),
        (["--size", "33"], "size: expected a value of 16, 32"),
        (["--channels", "2"], "channels: expected one of 1, 3"),
        (["--window", "ful"], "did you mean full?"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, *more])
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert end.value.code == 2 and told in line and line.startswith("workbench: ")


# ---------------------------------------------------------------- shards


def sharded(root: Path, shards: int = 4, each: int = 5) -> list[Path]:
    root.mkdir()
    paths = [root / f"part-{number:03d}.tar" for number in range(shards)]
    for number, path in enumerate(paths):
        with tarfile.open(path, "w") as tar:
            for item in range(each):
                file = io.BytesIO()
                Image.fromarray(noise(number * each + item)).save(file, "PNG")
                for end, content in (("png", file.getvalue()), ("txt", b"beside")):
                    member = tarfile.TarInfo(f"{number * each + item:03d}.{end}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return paths


@pytest.fixture
def remote():
    pytest.importorskip("webdataset")
    from workbench.data.store import Shards

    return Shards


def keys(shards) -> list[str]:
    return [sample["key"] for sample in shards]


def test_shards_give_every_image_once_as_a_store_holds_it(tmp_path, remote):
    paths = sharded(tmp_path / "tars")
    samples = {sample["key"]: sample["image"] for sample in remote(paths, SMALL, buffer=7)}
    assert sorted(samples) == [f"{number:03d}" for number in range(20)]
    for key, image in samples.items():
        wanted = resized(noise(int(key)).astype(np.float32) / 255, 32)
        assert torch.equal(image[0] * 255, torch.from_numpy(wanted).float())


@pytest.mark.parametrize("form", ["file:{0}/part-{{000..003}}.tar", "pipe:cat {0}/part-{{000..003}}.tar"])
def test_urls_of_files_and_commands(tmp_path, remote, form):
    sharded(tmp_path / "tars")
    assert len(keys(remote(form.format(tmp_path / "tars"), SMALL))) == 20


def test_shards_and_images_are_mixed_anew_every_epoch_and_alike_for_a_seed(tmp_path, remote):
    paths = sharded(tmp_path / "tars")
    plain = keys(remote(paths, SMALL, buffer=0))
    starts = plain[::5]
    assert sorted(starts) == ["000", "005", "010", "015"] != starts
    for first in range(0, 20, 5):
        assert plain[first : first + 5] == sorted(plain[first : first + 5]), "a shard is read in its order"
    one, two, other = remote(paths, SMALL, buffer=8), remote(paths, SMALL, buffer=8), remote(paths, SMALL, seed=1)
    first = keys(one)
    assert first == keys(two) and first != plain and sorted(first) == sorted(plain)
    one.epoch = 1
    assert keys(one) != first and keys(other) != first


def test_workers_and_processes_read_different_shards(tmp_path, remote, monkeypatch):
    paths = sharded(tmp_path / "tars")
    loaded = DataLoader(remote(paths, SMALL), batch_size=None, num_workers=2)
    assert sorted(keys(loaded)) == [f"{number:03d}" for number in range(20)]
    found = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        found.append(keys(remote(paths, SMALL)))
        with pytest.raises(InvalidParameter, match="a shard for each of 2 processes, found 1"):
            keys(remote(paths[:1], SMALL))
    assert len(found[0]) == len(found[1]) == 10 and not set(found[0]) & set(found[1])


def test_shards_that_cannot_be_read_are_told(tmp_path, remote, capsys):
    (path, *_) = sharded(tmp_path / "tars")
    refused(lambda: keys(remote([tmp_path / "tars" / "none.tar"], SMALL)), "none.tar: expected a tar file of images")
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 500)
    refused(lambda: keys(remote([tmp_path / "bad.tar"], SMALL)), "bad.tar: expected a tar file of images")
    for length in (4000, 2048 + 100, 2048):
        os.truncate(path, length)
        refused(lambda: keys(remote([path], SMALL, buffer=0)), "part-000.tar: expected a tar file of images")
    with pytest.raises(InvalidParameter, match="one shard or more, found none"):
        remote([])


def test_members_that_are_no_images_are_told_and_left_out(tmp_path, remote, capsys):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("x.txt", b"words"), ("y.png", b"\x89PNG\r\n\x1a\n cut")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert keys(remote([tmp_path / "a.tar"], SMALL)) == []
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "found txt" in lines[0] and "an intact image" in lines[1]


def test_a_missing_webdataset_is_told_in_one_line(monkeypatch):
    from workbench.data.store import Shards

    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(InvalidParameter) as error:
        Shards("a.tar")
    assert "pip install 'workbench[remote]'" in str(error.value)
