"""Peak memory of the kernel of each notebook, run whole at its tiny preset; Binder gives about 1 GB or 2.

python benchmarks/memory.py [notebooks ...]

The kernel's own high-water mark is read from the kernel of Linux (VmHWM of /proc), after the last cell.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


class Measured(nbclient.NotebookClient):
    """Notes the kernel's peak memory before it is shut down."""

    peak = 0.0

    async def async_execute_cell(self, cell, index, *rest, **named):
        done = await super().async_execute_cell(cell, index, *rest, **named)
        status = Path(f"/proc/{self.km.provisioner.pid}/status").read_text()
        self.peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
        return done


def measure(path: Path) -> dict[str, float]:
    """Peak resident memory in MB and wall time in s of one notebook, its runs in a folder that is thrown away."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        for cell in notebook.cells:
            if "parameters" in cell.metadata.get("tags", []):
                cell.source += f'\nruns = "{folder}"'
        client = Measured(notebook, timeout=1200, resources={"metadata": {"path": folder}}, store_widget_state=False)
        start = time.perf_counter()
        client.execute()
    return {"peak_MB": round(client.peak), "seconds": round(time.perf_counter() - start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted(NOTEBOOKS.glob("*.ipynb")))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    chosen = parser.parse_args()
    record = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {}
    for path in chosen.notebooks:
        record[path.stem] = measure(path)
        print(path.stem, record[path.stem], flush=True)
        chosen.out.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
