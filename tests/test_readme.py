"""The README tells what is: its table is made from the claims, its pictures and commands exist."""

import json
import re
from pathlib import Path

import pytest

from workbench import claims, method

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_claims_is_made_from_the_records():
    table = TEXT.split("<!-- claims -->")[1].split("<!-- /claims -->")[0].strip()
    assert table == claims.markdown(ROOT / "claims")


@pytest.mark.parametrize("path", sorted((ROOT / "claims").glob("*.json")), ids=lambda path: path.stem)
def test_every_record_is_whole(path):
    """One record has every arm and claim, those on other data what these allow: not all tell lesions' similarity."""
    records, module = json.loads(path.read_text(encoding="utf-8")), method.module(path.stem)
    every = {claim.text for claim in module.CLAIMS}
    for record in records:
        assert record["method"] == path.stem and len(record["seeds"]) >= 5
        for metrics in record["arms"].values():
            assert all(len(values) == len(record["seeds"]) for values in metrics.values())
        assert set() < {verdict["claim"] for verdict in record["verdicts"]} <= every
        assert record["command"].startswith(f"workbench claims {record['method']}")
    whole = [one for one in records if {verdict["claim"] for verdict in one["verdicts"]} == every]
    assert any({path.stem, *module.RIVALS, *module.FLOORS} <= set(one["arms"]) for one in whole)


def test_pictures_and_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_methods_are_listed():
    for name, package in method.names().items():
        assert package != "methods" or f"[{name}](notebooks/" in TEXT
