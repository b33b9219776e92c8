"""Suites of other people, written and run by pytester."""

from collections.abc import Callable

import pytest

#: ``run(code, *options)`` runs a test file in this process and returns how it went.
Run = Callable[..., pytest.RunResult]

INI = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = -p no:cacheprovider -p no:anyio
"""
