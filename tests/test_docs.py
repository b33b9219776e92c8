"""The documentation is true: every Python block in it runs, and every link in it leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python(?P<options>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#]+)")


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text("utf-8"))], ids=lambda p: p.name)
def test_every_python_block_of_the_page_runs(page: Path) -> None:
    # One process a page, since each block is a program of its own: it may install signal handlers or start loops.
    code = "\n".join(_as_program(match) for match in BLOCK.finditer(page.read_text("utf-8")))
    command = [sys.executable, "-X", "dev", "-W", "error", "-"]
    done = subprocess.run(command, input=code, capture_output=True, text=True, timeout=60, cwd=ROOT, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def _as_program(match: re.Match[str]) -> str:
    return f"print('-- block'); exec(compile({match['code']!r}, 'block', 'exec'), {{'__name__': 'block'}})"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text("utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text("utf-8")
    assert [page.name for page in PAGES[1:] if page.name not in ("index.md",) and f"({page.name})" not in index] == []
