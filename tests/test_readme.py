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
    records, module = json.loads(path.read_text(encoding="utf-8")), method.module(path.stem)
    every, must = ({c.text for c in module.CLAIMS if c.kind in kinds} for kinds in (("must", "reported"), ("must",)))
    for record in records:
        assert record["method"] == path.stem and len(record["seeds"]) >= 5
        assert {record["method"], *module.RIVALS, *module.FLOORS} <= set(record["arms"])
        for metrics in record["arms"].values():
            assert all(len(values) == len(record["seeds"]) for values in metrics.values())
        assert must <= {verdict["claim"] for verdict in record["verdicts"]} <= every
        assert record["command"].startswith(f"workbench claims {record['method']}")
    judged = [{verdict["claim"] for verdict in record["verdicts"]} for record in records]
    assert every in judged, "one record has every arm"


def test_pictures_and_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_methods_are_listed():
    for name, package in method.names().items():
        assert package != "methods" or f"[{name}](notebooks/" in TEXT
