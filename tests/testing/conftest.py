"""Suites of other people, written and run by pytester."""

import pytest
from suites import INI, Run


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run a test file in this process."""

    def run(code: str, *options: str) -> pytest.RunResult:
        pytester.makeini(INI)
        pytester.makepyfile(test_suite=code)
        return pytester.runpytest_inprocess("-v", *options)

    return run
