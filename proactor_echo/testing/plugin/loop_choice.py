"""Run a suite on a certain event loop, by the way that the installed pytest-asyncio offers."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest

__all__ = ["choose_loop"]

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def choose_loop(config: pytest.Config, choice: str) -> LoopFactory:
    """Let pytest-asyncio run tests on the loops of ``choice``; return what makes the loop of a server thread.

    ``choice`` is ``"proactor_echo"``, ``"stock"``, or ``"both"``, with which each test runs twice.
    Raises UsageError when there is no pytest-asyncio, or no such loop.
    """
    if choice not in ("proactor_echo", "stock", "both"):
        raise pytest.UsageError(f'proactor_echo_loop must be "proactor_echo", "stock" or "both", not {choice!r}')
    if not config.pluginmanager.has_plugin("asyncio"):
        raise pytest.UsageError(
            "--proactor-echo-loop needs pytest-asyncio; with AnyIO's plugin let the fixture anyio_backend return "
            '("asyncio", {"loop_factory": proactor_echo.new_event_loop})'
        )
    factories: dict[str, LoopFactory] = {}
    if choice in ("proactor_echo", "both"):
        factories["proactor_echo"] = _own_loop()
    if choice in ("stock", "both"):
        factories["stock"] = asyncio.new_event_loop
    if _asks_a_hook(config):
        config.pluginmanager.register(_ByHook(factories), "proactor_echo_loops")
    else:
        config.pluginmanager.register(_by_policy(factories), "proactor_echo_loops")
    return next(iter(factories.values()))


def _own_loop() -> LoopFactory:
    try:
        from proactor_echo import loops
    except ImportError:
        loops = None  # type: ignore[assignment]
    factory: LoopFactory | None = getattr(loops, "new_event_loop", None)
    if factory is None:
        raise pytest.UsageError("--proactor-echo-loop: this version of proactor_echo has no event loop of its own")
    return factory


def _asks_a_hook(config: pytest.Config) -> bool:
    return hasattr(config.hook, "pytest_asyncio_loop_factories")


class _ByHook:
    """pytest-asyncio from 1.4 on asks a hook, which must not be there when it has nothing to say."""

    def __init__(self, factories: Mapping[str, LoopFactory]) -> None:
        self._factories = factories

    def pytest_asyncio_loop_factories(self) -> Mapping[str, LoopFactory]:
        return self._factories


def _by_policy(factories: Mapping[str, LoopFactory]) -> object:
    """Before that, a fixture gives the event loop policy."""
    policies = [_policy(factory) for factory in factories.values()]

    class ByPolicy:
        @pytest.fixture(scope="session", params=policies, ids=list(factories))
        def event_loop_policy(self, request: pytest.FixtureRequest) -> Any:
            return request.param

    return ByPolicy()


def _policy(factory: LoopFactory) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.14 on

        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self) -> asyncio.AbstractEventLoop:
                return super().new_event_loop() if factory is asyncio.new_event_loop else factory()

        return Policy()
