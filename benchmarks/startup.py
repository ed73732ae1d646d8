"""How soon the package answers: `import workbench` without torch, and `workbench list`; medians of fresh processes.

python benchmarks/startup.py [--repeats 11]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import workbench": ["-c", "import workbench, sys; assert 'torch' not in sys.modules"],
    "workbench list": ["-m", "workbench", "list"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "startup.json")
    chosen = parser.parse_args()
    times = {name: [] for name in COMMANDS}
    for repeat in range(chosen.repeats + 1):
        for name, words in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            if repeat:
                times[name].append(time.perf_counter() - start)
    record = {n: {"median_s": round(statistics.median(v), 3), "max_s": round(max(v), 3)} for n, v in times.items()}
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
