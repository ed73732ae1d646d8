"""The README tells what is: its table is made from the claims, its pictures and commands exist."""

import json
import re
from pathlib import Path

from workbench import claims, method

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_claims_is_made_from_the_records():
    table = TEXT.split("<!-- claims -->")[1].split("<!-- /claims -->")[0].strip()
    assert table == claims.markdown(ROOT / "claims")


def test_every_record_is_whole():
    for path in (ROOT / "claims").glob("*.json"):
        for record in json.loads(path.read_text(encoding="utf-8")):
            assert record["method"] == path.stem and len(record["seeds"]) >= 5
            module = method.module(record["method"])
            ablations = module.ABLATIONS if record["data"].startswith("phantom") else ()
            assert {record["method"], *module.RIVALS, *module.FLOORS, *ablations} <= set(record["arms"])
            for metrics in record["arms"].values():
                assert all(len(values) == len(record["seeds"]) for values in metrics.values())
            judged = {(v["claim"], v["kind"]) for v in record["verdicts"]}
            asked = [claim for claim in module.CLAIMS if claim.kind == "must" or record["data"].startswith("phantom")]
            assert {(claim.text, claim.kind) for claim in asked} <= judged
            assert record["command"].startswith(f"workbench claims {record['method']}")


def test_pictures_and_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_methods_are_listed():
    for name, package in method.names().items():
        assert package != "methods" or f"[{name}](notebooks/" in TEXT
