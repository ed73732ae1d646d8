"""Half scans: both cut and mirrored exactly, phantoms, the AGE challenge's folder with every way it can be wrong."""

import csv
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook
from PIL import Image

from workbench.data import asoct, check, open_data
from workbench.data.asoct import Options, Scan, cut, mirrored, unlabelled, write_submission
from workbench.data.asoct.halves import redealt, sides, to_half
from workbench.data.asoct.phantoms import CLOSED, LIMIT, OPEN, SPOT, decoys, eye_of, iris, scans
from workbench.data.asoct.tables import COLUMNS, read_rows
from workbench.errors import InvalidImage, InvalidParameter
from workbench.metrics import auc_parts

HEIGHT, WIDTH = 64, 140


def scan_of(image, spurs=(None, None), closed=(False, True)):
    return Scan(np.asarray(image, np.float32), spurs, closed, "case", "group")


def dotted(*points, shape=(HEIGHT, WIDTH)):
    """A black scan with white pixels at (x, y)."""
    image = np.zeros(shape, np.float32)
    for x, y in points:
        image[y, x] = 1
    return image


# ---------------------------------------------------------------- halves


@given(st.floats(0, 2129), st.integers(1, 3000))
def test_mirroring_twice_is_identity_on_coordinates(x, width):
    assert mirrored(mirrored(x, width), width) == pytest.approx(x, abs=1e-9)
    for side in ("left", "right"):
        assert to_half(to_half((x, 5.0), side, width), side, width) == pytest.approx((x, 5.0), abs=1e-9)


def test_mirroring_twice_is_identity_on_images_and_exchanges_the_halves():
    image = np.random.default_rng(0).random((8, 20))
    left, right = sides(image)
    again = sides(image[:, ::-1])
    assert np.array_equal(again[0], right) and np.array_equal(again[1], left)
    assert np.array_equal(left, image[:, :8])
    assert np.array_equal(right[:, ::-1], image[:, -8:])


def test_points_of_both_halves_lie_on_their_pixels():
    spurs = ((12, 40), (121, 33))
    one, two = cut(scan_of(dotted(*spurs), spurs), HEIGHT)
    assert (one.side, two.side, one.closed, two.closed) == ("left", "right", False, True)
    assert two.spur == (WIDTH - 1 - 121, 33), "not W - x"
    for half in (one, two):
        x, y = half.spur
        assert half.image[y, x] == 255 and half.image.sum() == 255
        assert half.scale == 1.0


def test_a_point_at_the_edges_stays_within():
    one, two = cut(scan_of(np.zeros((HEIGHT, WIDTH)), ((0, 0), (WIDTH - 1, 63))), HEIGHT)
    assert one.spur == (0, 0) and two.spur == (0, 63)


def test_unknown_points_are_not_mirrored():
    data = asoct.halves.cases(cut(scan_of(np.zeros((HEIGHT, WIDTH))), 32))
    assert data.tensors["spur"].tolist() == [[-1, -1], [-1, -1]]
    assert data.tensors["known"].tolist() == [0, 0]
    assert data.tensors["mirrored"].tolist() == [0, 1]


def test_symmetrical_scan_has_equal_halves():
    half = np.random.default_rng(0).random((HEIGHT, WIDTH // 2))
    spurs = ((10.25, 30), (WIDTH - 1 - 10.25, 30))
    one, two = cut(scan_of(np.concatenate([half, half[:, ::-1]], 1), spurs), 32)
    assert np.array_equal(one.image, two.image) and one.spur == two.spur


@pytest.mark.parametrize("size", [32, 64, 96])
def test_scaled_spot_lies_where_the_scale_says(size):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.exp(-((x - 20.3) ** 2 + (y - 41.6) ** 2) / 32)
    one, _ = cut(scan_of(image, ((20.3, 41.6), None)), size)
    assert one.image.shape == (size, size) and one.scale == HEIGHT / size
    weight = one.image.astype(float)
    rows, columns = np.mgrid[:size, :size]
    center = [(weight * axis).sum() / weight.sum() for axis in (columns, rows)]
    assert (np.array(center) + 0.5) * one.scale - 0.5 == pytest.approx(one.spur, abs=0.05)


# ---------------------------------------------------------------- phantoms


@pytest.fixture(scope="module")
def phantoms():
    return open_data("asoct", train=300)


def test_phantoms_are_the_same_every_time_and_splits_do_not_move_one_another(phantoms):
    assert open_data("asoct").fingerprint == open_data("asoct").fingerprint
    assert open_data("asoct").fingerprint != open_data("asoct", data_seed=1).fingerprint
    few = open_data("asoct", train=5, valid=7, test=3)
    for name in ("train", "valid", "test"):
        one, other = getattr(few, name), getattr(phantoms, name)
        for key in ("image", "spur", "closed"):
            assert torch.equal(one.tensors[key], other.tensors[key][: len(one)])
    assert (len(few.train), len(few.valid), len(few.test)) == (5, 7, 3)


def test_patients_and_scans_stay_together(phantoms):
    groups = [set(getattr(phantoms, name).table["group"]) for name in ("train", "valid", "test")]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    table = phantoms.train.table
    assert len(set(table["case"])) == len(table["case"]) == 300
    assert [case.rpartition("-")[2] for case in table["case"][:4]] == ["left", "right"] * 2
    counts = {group: table["group"].count(group) for group in table["group"]}
    assert set(list(counts.values())[:-1]) == {2, 4}, "patients have one scan or two"


def test_phantoms_are_as_rare_and_as_hidden_as_the_card_says(phantoms):
    tensors = phantoms.train.tensors
    assert 0.14 < tensors["closed"].mean() < 0.28
    assert 0.02 < 1 - tensors["known"].mean() < 0.12
    spur = tensors["spur"][tensors["known"] > 0]
    assert spur.min() > 2 and spur.max() < 93
    floor = (spur - spur.mean(0)).norm(dim=1).mean()
    assert 4 < floor < 8, "spurs sit in a narrow region, but not in one place"
    assert set(tensors["scale"].tolist()) == {1.0}


def test_no_single_pixel_tells_the_class(phantoms):
    image, closed = phantoms.train.tensors["image"].flatten(1).float(), phantoms.train.tensors["closed"]
    blurred = torch.nn.functional.avg_pool2d(image.view(-1, 1, 96, 96), 3).flatten(1)
    areas = torch.stack([auc_parts(column, closed).nanmean() for column in blurred[:, ::7].T.contiguous()])
    assert (areas - 0.5).abs().max() < 0.36
    assert OPEN[0] > LIMIT > CLOSED[1]


def test_spurs_are_dim_and_decoys_far_away(phantoms):
    rng = np.random.default_rng(0)
    for _ in range(100):
        eye = eye_of(rng, narrow=False)
        slope = np.radians(eye.slope)
        center = np.array(eye.spur) + eye.radius * np.array([np.sin(slope), np.cos(slope)])
        places = decoys(rng, eye, center, iris(eye, slope))
        assert 1 <= len(places) <= 2
        assert all(np.hypot(*(place - eye.spur)) > 5 * SPOT for place in places)
    known = phantoms.train.tensors["known"] > 0
    image, spur = phantoms.train.tensors["image"][known, 0].float(), phantoms.train.tensors["spur"][known].round()
    smooth = torch.nn.functional.avg_pool2d(image[:, None], 3, 1, 1)[:, 0]
    at = smooth[torch.arange(len(smooth)), spur[:, 1].long(), spur[:, 0].long()]
    assert (at < 0.8 * smooth.amax((1, 2))).float().mean() > 0.9, "other places are brighter"


def test_halves_of_a_scan_have_angles_of_their_own():
    rng = np.random.default_rng(3)
    one = scans(rng, "p", narrow=False, count=2)
    assert [scan.group for scan in one] == ["p", "p"] and one[0].case != one[1].case
    spurs = [scan.spurs for scan in one]
    assert spurs[0] != spurs[1]
    width = one[0].image.shape[1]
    assert spurs[0][0] is None or spurs[0][1] is None or spurs[0][0] != to_half(spurs[0][1], "right", width)


@given(st.integers(4, 200), st.integers(0, 5))
def test_shuffled_labels_are_as_many_and_tell_nothing(count, seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.25).astype(np.float32)
    anew = redealt(labels, rng)
    assert anew.sum() == labels.sum()
    expected = labels.mean() * labels.sum()
    assert abs((anew * labels).sum() - expected) <= 0.5


def test_shuffled_labels_are_for_training_alone():
    data = open_data("asoct", size=32, train=40)
    assert data.train.tensors["shuffled"].sum() == data.train.tensors["closed"].sum()
    assert not torch.equal(data.train.tensors["shuffled"], data.train.tensors["closed"])
    assert "shuffled" not in data.valid.tensors and "shuffled" not in data.test.tensors


@pytest.mark.parametrize("wrong", [{"size": 16}, {"size": 40}, {"train": 0}, {"source": "samples"}, {"folds": 3}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InvalidParameter):
        open_data("asoct", **wrong)


# ---------------------------------------------------------------- folders


def row(name, left=(12.0, 40.0), right=(121.0, 33.0), labels=(0, 1)):
    return [name, labels[0], *left, labels[1], *right]


def rows_of(patients=6, slices=2):
    return [
        row(f"T{p:04d}-{s:02d}.jpg", (10.5 + p, 30.0 + s), (120.0 + p, 31.0), (p % 2, p % 2))
        for p in range(patients)
        for s in range(slices)
    ]


def write_images(root, names, shape=(HEIGHT, WIDTH)):
    (root / "ASOCT_Image").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, shape, np.uint8)
        Image.fromarray(pixels).save(root / "ASOCT_Image" / name, quality=95)


def write_xlsx(root, rows, header=COLUMNS, name="Training100_Location.xlsx"):
    book = Workbook()
    book.active.append(list(header))
    for one in rows:
        book.active.append(one)
    book.save(root / name)
    return root / name


def write_csv(root, rows, header=COLUMNS, name="Training100_Location.csv"):
    with (root / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return root / name


def make(root, rows=None, write=write_xlsx, **table):
    rows = rows_of() if rows is None else rows
    write_images(root, [one[0] for one in rows])
    write(root, rows, **table)
    return root


def load(root, **options):
    return open_data("asoct", root=str(root), **({"size": 32, "train": 8, "valid": 4, "test": 4} | options))


def reasons(data):
    return dict(data.aside)


def test_xlsx_and_csv_give_the_same_data(tmp_path):
    one = load(make(tmp_path / "one"))
    two = load(make(tmp_path / "two", write=write_csv))
    assert one.fingerprint == two.fingerprint and not one.aside
    assert [len(one.train), len(one.valid), len(one.test)] == [8, 4, 4]
    assert one.train.tensors["scale"].unique().tolist() == [2.0]


def test_the_training_folder_may_lie_one_below(tmp_path):
    make(tmp_path / "AGE" / "Training100")
    assert len(load(tmp_path / "AGE").train) == 8
    (tmp_path / "AGE" / "Training100" / "Training100_Location.xlsx").rename(tmp_path / "AGE" / "T_Location.xlsx")
    assert len(load(tmp_path / "AGE").train) == 8, "the table beside the unpacked zip"


def test_halves_carry_their_own_labels_and_points(tmp_path):
    rows = rows_of()
    rows[0][1], rows[0][4] = 0, 1
    rows[1][2:4] = [-1, -1]
    data = load(make(tmp_path, rows), train=100, valid=100, test=100)
    parts = [getattr(data, name) for name in ("train", "valid", "test")]
    assert sum(map(len, parts)) == 24
    found = sorted(
        (m, x, y, k, c)
        for part in parts
        for m, (x, y), k, c in zip(
            part.tensors["mirrored"].tolist(), part.tensors["spur"].tolist(), part.tensors["known"].tolist(),
            part.tensors["closed"].tolist(),
        )
    )  # fmt: skip
    expected = []
    for _, left, x1, y1, right, x2, y2 in rows:
        expected += [(0, x1, y1, float(x1 >= 0), left), (1, WIDTH - 1 - x2, y2, 1, right)]
    assert found == sorted(expected)


def test_patients_of_a_folder_are_not_split_and_no_name_is_kept(tmp_path):
    data = load(make(tmp_path, rows_of(8, 3)), train=12, valid=6, test=6)
    tables = [getattr(data, name).table for name in ("train", "valid", "test")]
    groups = [set(table["group"]) for table in tables]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert len(groups[0]) > 2, "a scan of every patient before a second one"
    assert not any("T0" in text for table in tables for column in table.values() for text in column)
    scans_of = [{case.rpartition("-")[0] for case in table["case"]} for table in tables]
    assert not scans_of[0] & scans_of[1] and not scans_of[0] & scans_of[2]


def test_check_tells_every_half_and_what_is_left(tmp_path):
    make(tmp_path, [*rows_of(), row("nopatient.jpg")])
    lines = list(check("asoct", tmp_path, size=32, train=4, valid=2, test=2))
    assert sum("left" in line for line in lines) == 4 and sum("right" in line for line in lines) == 4
    assert any(line.startswith("set aside: nopatient.jpg: expected a name such as") for line in lines)
    assert sum(line.startswith("not used: ASOCT_Image/") for line in lines) == 8
    assert lines[-1] == "8 halves of 4 scans can be used, 1 scans are set aside"


@pytest.mark.parametrize("width", [128, 131, 192])
def test_scans_of_another_width_are_cut_exactly(tmp_path, width):
    rows = [row(name, (12.0, 40.0), (width - 20.0, 33.0)) for name, *_ in rows_of()]
    write_images(tmp_path, [one[0] for one in rows], (HEIGHT, width))
    write_xlsx(tmp_path, rows)
    spurs = load(tmp_path, size=64).train.tensors["spur"].unique(dim=0).tolist()
    assert sorted(spurs) == [[12.0, 40.0], [19.0, 33.0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"left": (140.0, 40.0)}, "left spur within 140 x 64 pixels, found x=140, y=40"),
        ({"right": (100.0, 64.0)}, "right spur within 140 x 64 pixels, found x=100, y=64"),
        ({"left": (-3.0, 40.0)}, "left spur within 140 x 64 pixels, found x=-3, y=40"),
        ({"left": (121.0, 33.0), "right": (12.0, 40.0)}, "left and right swapped; exchange X1, Y1 with X2, Y2"),
        ({"left": (64.0, 40.0)}, "the left spur in the left 64 columns, found x=64"),
        ({"right": (75.0, 40.0)}, "the right spur in the right 64 columns, found x=75"),
        ({"left": (121.0, 33.0), "right": (-1, -1)}, "the left spur in the left 64 columns, found x=121"),
    ],
)
def test_points_that_do_not_fit_set_their_scan_aside(tmp_path, change, reason):
    data = load(make(tmp_path, [row("T0000-01.jpg", **change), *rows_of()[2:]]), train=100, valid=100, test=100)
    assert list(reasons(data)) == ["T0000-01.jpg"]
    assert reason in reasons(data)["T0000-01.jpg"]
    assert sum(len(getattr(data, name)) for name in ("train", "valid", "test")) == 20


def test_points_at_the_last_pixel_fit(tmp_path):
    rows = [row("T0000-01.jpg", (63.0, 63.0), (76.0, 0.0)), *rows_of()[2:]]
    assert not load(make(tmp_path, rows), train=100, valid=100, test=100).aside


@pytest.mark.parametrize("shape", [(64, 127), (64, 193), (64, 64), (140, 64)])
def test_scans_of_an_unexpected_width_are_set_aside(tmp_path, shape):
    make(tmp_path, [row("T0000-01.jpg", (-1, -1), (-1, -1)), *rows_of()[2:]])
    write_images(tmp_path, ["T0000-01.jpg"], shape)
    data = load(tmp_path, train=100, valid=100, test=100)
    assert f"2 to 3 times as wide as high, found {shape[1]} x {shape[0]}" in reasons(data)["T0000-01.jpg"]


def test_damaged_images_and_images_without_row_are_set_aside(tmp_path):
    make(tmp_path)
    (tmp_path / "ASOCT_Image" / "T0003-00.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    write_images(tmp_path, ["T0099-01.jpg"])
    data = load(tmp_path, train=100, valid=100, test=100)
    assert set(reasons(data)) == {"T0003-00.jpg", "T0099-01.jpg"}
    assert "expected a row in Training100_Location.xlsx" in reasons(data)["T0099-01.jpg"]


BAD_TABLES = {
    "a column is missing": ({"header": ("ASOCT_Name", "Left_Label", "X1", "Y1", "Right_Label", "X2", "Y")}, "Y2"),
    "a column is there twice": ({"header": ("ASOCT_Name", "Left_Label", "X1", "X1", "Right_Label", "X2", "Y2")}, "X1"),
    "a scan is named twice": (
        {"rows": [*rows_of(), row("T0000-00.jpg")]},
        "one row a scan, found several for T0000-00",
    ),
    "a label is 2": (
        {"rows": [row("T0000-00.jpg", labels=(2, 0))]},
        r"0 \(open\) or 1 \(closed\) in Left_Label of T0000",
    ),
    "a label is text": ({"rows": [row("T0000-00.jpg", labels=(0, "open"))]}, "a number in Right_Label of T0000-00.jpg"),
    "a coordinate is text": ({"rows": [row("T0000-00.jpg", ("12 px", 3))]}, "a number in X1 of T0000-00.jpg"),
    "a coordinate is empty": ({"rows": [row("T0000-00.jpg", (12, None))]}, "a number in Y1 of T0000-00.jpg"),
    "a coordinate is NaN": ({"rows": [row("T0000-00.jpg", ("nan", 3))]}, "a number in X1 of T0000-00.jpg"),
    "only one coordinate is -1": ({"rows": [row("T0000-00.jpg", right=(-1, 3))]}, "right spur of T0000-00.jpg in X2"),
    "a name is missing": ({"rows": [row(None)]}, "a file's name in ASOCT_Name"),
    "there is a header alone": ({"rows": []}, "a header alone"),
}


@pytest.mark.parametrize("write", [write_xlsx, write_csv])
@pytest.mark.parametrize("case", BAD_TABLES)
def test_wrong_tables_are_refused_in_one_line(tmp_path, case, write):
    change, message = BAD_TABLES[case]
    write_images(tmp_path, [one[0] for one in rows_of()])
    write(tmp_path, change.get("rows", rows_of()), change.get("header", COLUMNS))
    with pytest.raises(InvalidImage, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_columns_names_without_ending_and_empty_rows_are_fine(tmp_path):
    rows = [[*one, "note"] for one in rows_of()]
    rows = [[one[0].removesuffix(".jpg"), *one[1:]] for one in rows]
    path = write_xlsx(tmp_path, [*rows, [None] * 8], (*COLUMNS, "remark"))
    found = read_rows(path)
    assert len(found) == 12 and found[0].key == "T0000-00" and found[0].spurs == ((10.5, 30.0), (120.0, 31.0))
    write_images(tmp_path, [one[0] for one in rows_of()])
    assert not load(tmp_path).aside


def test_rows_without_an_image_are_all_named(tmp_path):
    make(tmp_path, [*rows_of(), row("T0050-01.jpg"), row("T0051-01.jpg")])
    for name in ("T0050-01.jpg", "T0051-01.jpg"):
        (tmp_path / "ASOCT_Image" / name).unlink()
    with pytest.raises(InvalidImage, match=r"an image for every row, found none for T0050-01.jpg, T0051-01.jpg; add"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PK\x03\x04 cut", "damaged or incomplete"), (b"ASOCT_Name,X1", "damaged or incomplete"), (b"", "damaged")],
)
def test_workbooks_that_are_none_are_refused(tmp_path, content, message):
    make(tmp_path)
    (tmp_path / "Training100_Location.xlsx").write_bytes(content)
    with pytest.raises(
        InvalidImage, match=rf"Training100_Location.xlsx: expected an intact xlsx table, found {message}"
    ):
        load(tmp_path)


def test_workbook_that_unpacks_to_gigabytes_is_refused(tmp_path):
    make(tmp_path)
    with zipfile.ZipFile(tmp_path / "Training100_Location.xlsx", "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/media/big.bin", bytes(2**26 + 1))
    with pytest.raises(InvalidImage, match="at most 64 MB of table, found 64 MB"):
        load(tmp_path)


def test_layouts_that_are_none_are_refused(tmp_path):
    with pytest.raises(InvalidImage, match="nothing of that name"):
        load(tmp_path / "missing")
    with pytest.raises(InvalidImage, match="images in it, found none"):
        load(tmp_path)
    make(tmp_path / "one")
    (tmp_path / "one" / "Training100_Location.xlsx").unlink()
    with pytest.raises(InvalidImage, match=r"\*_Location.xlsx or \*_Location.csv beside ASOCT_Image/, found neither"):
        load(tmp_path / "one")
    write_csv(tmp_path / "one", rows_of(), name="A_Location.csv")
    write_csv(tmp_path / "one", rows_of(), name="B_Location.csv")
    with pytest.raises(InvalidImage, match=r"one table of locations, found A_Location.csv, B_Location.csv"):
        load(tmp_path / "one")
    make(tmp_path / "two")
    with pytest.raises(InvalidImage, match="one folder with ASOCT_Image/, found one, two"):
        load(tmp_path)
    (tmp_path / "two" / "ASOCT_Image").rename(tmp_path / "two" / "images")
    with pytest.raises(InvalidImage, match="one folder with ASOCT_Image/, found images in another layout"):
        load(tmp_path / "two")


def test_two_images_of_one_name_are_refused(tmp_path):
    make(tmp_path)
    write_images(tmp_path, ["T0000-00.png"])
    with pytest.raises(InvalidImage, match=r"one file for each name, found T0000-00.jpg and T0000-00.png"):
        load(tmp_path)


def test_too_few_patients_or_nothing_usable_is_refused(tmp_path):
    with pytest.raises(InvalidImage, match="at least 3 groups"):
        load(make(tmp_path / "few", rows_of(2)))
    swapped = [row(one[0], (121.0, 33.0), (12.0, 40.0)) for one in rows_of()]
    with pytest.raises(InvalidImage, match=r"the scans for test: expected one that can be used.*swapped"):
        load(make(tmp_path / "swapped", swapped))


def test_more_halves_than_memory_are_refused(tmp_path):
    with pytest.raises(InvalidImage, match="halves that fit in memory"):
        load(make(tmp_path), size=4096, train=10**6)


# ---------------------------------------------------------------- the challenge's tables


def test_scans_without_labels_become_pairs_of_halves(tmp_path):
    write_images(tmp_path, ["T0001-01.jpg", "T0001-02.jpg"])
    write_images(tmp_path / "narrow", ["T0002-01.jpg"], (64, 64))
    found = unlabelled(tmp_path, 32)
    assert found.names == ["T0001-01.jpg", "T0001-02.jpg"] and found.widths == [WIDTH, WIDTH]
    assert [name for name, _ in found.aside] == ["T0002-01.jpg"]
    batch = found.halves.__getitems__(range(4))
    assert batch["mirrored"].tolist() == [0, 1, 0, 1] and batch["image"].shape == (4, 1, 32, 32)
    assert set(batch) == {"image", "scale", "mirrored"}


def test_submission_gives_back_the_table(tmp_path):
    rows = rows_of()
    make(tmp_path, rows)
    scans = unlabelled(tmp_path / "ASOCT_Image", 32)
    table = {one.name: one for one in read_rows(tmp_path / "Training100_Location.xlsx")}
    spurs = [
        to_half(point, side, width)
        for name, width in zip(scans.names, scans.widths)
        for side, point in zip(("left", "right"), table[name].spurs)
    ]
    score = torch.linspace(0, 1, 24)
    paths = write_submission(tmp_path / "out", scans.names, scans.widths, score, torch.tensor(spurs), threshold=0.25)
    assert [path.name for path in paths] == ["Classification_Results.csv", "Localization_Results.csv"]
    first, second = (list(csv.DictReader(path.open())) for path in paths)
    assert list(first[0]) == ["ASOCT_NAME", "LEFT_ANGLE_RESULTS", "RIGHT_ANGLE_RESULTS"]
    for one in second:
        (x1, y1), (x2, y2) = table[one["ASOCT_NAME"]].spurs
        assert [float(one[key]) for key in ("X_LEFT", "Y_LEFT", "X_RIGHT", "Y_RIGHT")] == [x1, y1, x2, y2]
    written = [float(one[key]) for one in first for key in ("LEFT_ANGLE_RESULTS", "RIGHT_ANGLE_RESULTS")]
    assert written == sorted(written) and written[0] == -1 and written[-1] == 1
    assert [value >= 0 for value in written] == (score >= 0.25).tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"score": torch.zeros(3)}, {"point": torch.zeros(2, 2)}, {"widths": [140]}, {"score": torch.full((4,), 1.5)},
        {"point": torch.full((4, 2), torch.nan)}, {"threshold": 1.0}, {"threshold": 0.0},
        {"score": torch.full((4,), torch.nan)},
    ],
)  # fmt: skip
def test_submissions_that_do_not_fit_are_refused(tmp_path, change):
    given = {"names": ["a.jpg", "b.jpg"], "widths": [140, 140], "score": torch.zeros(4), "point": torch.zeros(4, 2)}
    with pytest.raises(InvalidParameter):
        write_submission(tmp_path, **(given | change))
    assert not list(tmp_path.iterdir())


def test_submission_folder_must_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidImage, match="a table that can be written"):
        write_submission(tmp_path / "file", ["a.jpg"], [140], torch.zeros(2), torch.zeros(2, 2))


def test_options_are_what_the_card_says():
    assert (Options().size, Options().train, Options().test) == (96, 96, 100)
