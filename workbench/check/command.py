"""What `workbench check` does: every notebook in turn, one line a finding, a summary line each."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench import check
from workbench.check import references
from workbench.check.judge import Tolerance
from workbench.errors import InvalidParameter, WorkbenchError


def run(
    paths: Sequence[Path],
    *,
    executed: Path | None = None,
    against: Path | None = None,
    update: bool = False,
    repeats: int = 3,
    tolerance: Tolerance | None = None,
    timeout: float = 600.0,
    as_json: bool = False,
) -> int:
    """Check notebooks or renew their references; 0: all as it was, 1: findings, 2: something could not be checked."""
    if len(paths) > 1 and (executed or against):
        raise InvalidParameter("--executed, --against", "one notebook", str(len(paths)), "check them one by one")
    if update and (executed or against):
        raise InvalidParameter("--update", "neither --executed nor --against", "both", "a reference comes from repeats")
    status, records = 0, []
    for path in paths:
        try:
            if update:
                print(f"written: {references.update(path, repeats, timeout)}", flush=True)
                count, total = references.extent(path)
                print(f"{path.name}: {count} of {total} statements agree over the repeats")
                continue
            report = check.check(path, executed, against, tolerance, timeout)
        except WorkbenchError as error:
            print(f"workbench: {error}", file=sys.stderr)
            status = 2
            continue
        status = max(status, int(bool(report.findings)))
        records.append(report.record())
        if not as_json:
            print("\n".join([*map(str, report.findings), report.summary()]), flush=True)
    if as_json:
        print(json.dumps(records, indent=1, ensure_ascii=False))
    return status
