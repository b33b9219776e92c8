"""The documentation is true: every Python block in it runs, and every link in it leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python(?P<options>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#]+)")


def _blocks(page: Path, *, test: bool) -> list[re.Match[str]]:
    """Return the blocks that are programs, or those marked ``python test``, which are files of tests."""
    return [match for match in BLOCK.finditer(page.read_text("utf-8")) if ("test" in match["options"].split()) is test]


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, test=False)], ids=lambda p: p.name)
def test_every_python_block_of_the_page_runs(page: Path) -> None:
    # One process a page, since each block is a program of its own: it may install signal handlers or start loops.
    code = "\n".join(_as_program(match) for match in _blocks(page, test=False))
    done = _python("-W", "error", "-", input=code, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, test=True)], ids=lambda p: p.name)
def test_every_test_in_the_page_passes(page: Path, tmp_path: Path) -> None:
    settings = "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{settings}", "utf-8")
    for number, match in enumerate(_blocks(page, test=True), 1):
        (tmp_path / f"test_block_{number}.py").write_text(match["code"], "utf-8")
    done = _python("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:anyio", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def _python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, **options, capture_output=True, text=True, timeout=60, encoding="utf-8", check=False)


def _as_program(match: re.Match[str]) -> str:
    return f"print('-- block'); exec(compile({match['code']!r}, 'block', 'exec'), {{'__name__': 'block'}})"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    targets = [match["target"] for match in LINK.finditer(page.read_text("utf-8"))]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text("utf-8")
    assert [page.name for page in PAGES[1:] if page.name != "index.md" and f"({page.name})" not in index] == []


def test_the_readme_names_pages_and_has_no_links_which_lead_nowhere_on_a_package_index() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert LINK.findall(readme) == []
    named = set(re.findall(r"`(docs/[^`]+)`", readme))
    assert "docs/index.md" in named
    assert [name for name in named if not (ROOT / name).exists()] == []
