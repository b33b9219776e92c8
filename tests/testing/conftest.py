"""Suites of other people, written and run by pytester."""

import importlib.metadata
import inspect

import pytest
from helpers.suites import INI, Run


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a test file in this process."""
    finder = importlib.metadata.MetadataPathFinder
    if inspect.isfunction(vars(finder)["invalidate_caches"]):
        # A library older than 3.11.8 under a newer interpreter, as on the Windows lane, disagrees with it about this.
        monkeypatch.setattr(finder, "invalidate_caches", classmethod(vars(finder)["invalidate_caches"]))

    def run(code: str, *options: str) -> pytest.RunResult:
        pytester.makeini(INI)
        pytester.makepyfile(test_suite=code)
        return pytester.runpytest_inprocess("-v", *options)

    return run
