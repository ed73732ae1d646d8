"""Who catches forty planted regressions, nbval or the checker, and how many reruns raise a false alarm.

python benchmarks/check.py [--reruns 200] [--notebook notebooks/09_neuronqc.ipynb] [--only reruns]

Reruns are of the small notebook that the regressions are planted in, which prints times, addresses, paths and a number
drawn anew each time; with --notebook of another one, which must have a reference.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import regressions

from workbench import check


def caught(good: Path, root: Path) -> list[dict]:
    """For each regression what nbval and the checker say; the last row is the notebook without any."""
    planted = [
        regressions.plant(one, good, root / f"r{number:02d}") for number, one in enumerate(regressions.REGRESSIONS)
    ]
    failed = regressions.by_nbval([good, *planted], root)
    rows = []
    for one, path in zip(regressions.REGRESSIONS, planted):
        found = regressions.by_checker(one, path)
        rows.append({"regression": one.name, "nbval": failed[path], "checker": bool(found), "told": found[:1]})
        print(f"{one.name:<42} nbval {'X' if failed[path] else '-'}  checker {'X' if found else '-'}", flush=True)
    alarms = check.check(good).findings
    rows.append(
        {"regression": "none", "nbval": failed[good], "checker": bool(alarms), "told": [str(one) for one in alarms[:1]]}
    )
    return rows


def alarms(path: Path, count: int) -> dict:
    """False alarms over reruns."""
    told, start, shares = [], time.perf_counter(), set()
    for number in range(1, count + 1):
        report = check.check(path)
        told += [[str(one) for one in report.findings]] if report.findings else []
        shares.add(round(report.share, 4))
        print(
            f"rerun {number} of {count}: {len(told)} false alarms", *map(str, report.findings), sep="\n  ", flush=True
        )
    seconds = round((time.perf_counter() - start) / max(count, 1), 2)
    counts = {"reruns": count, "false_alarms": len(told), "seconds_each": seconds}
    return counts | {"share_compared": sorted(shares), "told": told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--reruns", type=int, default=200)
    parser.add_argument("--notebook", type=Path, help="whose reruns; default: the small one")
    parser.add_argument("--only", choices=["reruns", "regressions"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "check.json")
    chosen = parser.parse_args()
    record = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        good = regressions.build(Path(folder) / "good")
        if chosen.only != "reruns":
            rows = record["regressions"] = caught(good, Path(folder))
            by = {who: sum(row[who] for row in rows[:-1]) for who in ("nbval", "checker")}
            record["caught"] = by | {
                "either": sum(row["nbval"] or row["checker"] for row in rows[:-1]),
                "of": len(rows) - 1,
            }
        if chosen.only != "regressions":
            path = chosen.notebook or good
            record.setdefault("reruns", {})[path.stem] = alarms(path, chosen.reruns)
    chosen.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({key: part for key, part in record.items() if key != "regressions"}, indent=1))


if __name__ == "__main__":
    main()
