"""Binder's badges in README.md and at the top of every notebook: `python binder/badges.py OWNER/REPOSITORY`.

The address is that of the repository on GitHub, which Binder builds; run it once after a fork.
"""

import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
BADGE = re.compile(r"\[!\[[^\]]*\]\(https://mybinder\.org/badge_logo\.svg\)\]\([^)]*\)")


def badge(repository: str, path: str) -> str:
    """A badge that opens a file of the repository in JupyterLab."""
    target = f"https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/{path}"
    return f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({target})"


def write(repository: str, root: Path = ROOT) -> None:
    readme = root / "README.md"
    readme.write_text(BADGE.sub(badge(repository, "notebooks/00_start.ipynb"), readme.read_text("utf-8")), "utf-8")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        title, _, rest = BADGE.sub("", book.cells[0].source).partition("\n")
        book.cells[0].source = f"{title}\n\n{badge(repository, f'notebooks/{path.name}')}\n\n{rest.strip()}"
        nbformat.write(book, path)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"[\w.-]+/[\w.-]+", sys.argv[1]):
        sys.exit("badges.py: expected OWNER/REPOSITORY, as in the repository's address on GitHub")
    write(sys.argv[1])
