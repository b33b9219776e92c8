"""Which plugin runs an asynchronous test: pytest-asyncio, with a loop of which scope, or AnyIO's.

A server must run in the loop of the test that talks to it, and be closed before that loop is. Each plugin does that
for its own asynchronous fixtures, and fails with those of the other. So the public fixtures are synchronous ones, which
find out which plugin runs the test and request the asynchronous fixture made for it.
"""

from __future__ import annotations

import contextlib
import inspect
import zlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from proactor_echo.testing.resources import Resources

__all__ = [
    "RUN_SEED",
    "SCOPES",
    "LeftOpenWarning",
    "faults_of",
    "fixture_for",
    "open_resources",
    "remember",
    "resources_of",
    "seed_of",
    "warn_left_open",
]

#: The fixtures that a test can ask for and that live in its event loop.
ASYNCHRONOUS: Final = (
    "tcp_echo_server",
    "tls_echo_server",
    "udp_echo_server",
    "tcp_server_factory",
    "udp_server_factory",
    "tcp_client_factory",
    "fault_proxy",
    "udp_fault_proxy",
)
#: The scopes that pytest-asyncio gives loops.
SCOPES: Final = ("function", "class", "module", "package", "session")
#: What a test has opened on its own loop.
TEST_RESOURCES: Final = pytest.StashKey["Resources"]()
#: Everything that a test has opened, in threads too.
ALL_RESOURCES: Final = pytest.StashKey[list["Resources"]]()
#: The seed of the whole run.
RUN_SEED: Final = pytest.StashKey[int]()


class LeftOpenWarning(pytest.PytestWarning):
    """A test ended and had not closed something that talks to a server of the plugin."""

    __module__ = "proactor_echo.testing"


def fixture_for(request: pytest.FixtureRequest, what: str) -> object:
    """Return the value of the asynchronous fixture ``what``, in the variant for the plugin that runs this test."""
    runner = _runner(request)
    return request.getfixturevalue(f"_proactor_echo_{what}_{runner}")


def _runner(request: pytest.FixtureRequest) -> str:
    item, plugins = request.node, request.config.pluginmanager
    name = next((name for name in ASYNCHRONOUS if name in request.fixturenames), request.fixturename)
    if not _is_asynchronous(item):
        raise _refusal(
            f"{name} runs in the event loop of an asynchronous test, and {item.name} is not one; "
            "for a test that blocks there are echo_server_thread and server_thread_factory"
        )
    marker = item.get_closest_marker("asyncio") if plugins.has_plugin("asyncio") else None
    anyio = "anyio_backend" in request.fixturenames and plugins.has_plugin("anyio")
    if marker is not None and anyio:
        raise _refusal(
            f"pytest-asyncio runs {item.name}, and AnyIO's plugin would run {name}, in another event loop: "
            "set asyncio_mode = strict, or do not use pytest.mark.anyio"
        )
    if marker is not None and not plugins.has_plugin("proactor_echo_asyncio"):
        raise _refusal(f"{name} needs pytest-asyncio 0.24 or later")
    if marker is not None:
        return str(marker.kwargs.get("loop_scope") or marker.kwargs.get("scope") or _default_scope(request.config))
    if anyio:
        backend = request.getfixturevalue("anyio_backend")
        backend = backend if isinstance(backend, str) else backend[0]
        if backend != "asyncio":
            raise _refusal(
                f"{name} needs asyncio, and {item.name} runs on {backend}; "
                "server_thread_factory and echo_server_thread work with it"
            )
        return "anyio"
    raise _refusal(
        f"{name} needs to know who runs {item.name}: mark it with pytest.mark.asyncio (pytest-asyncio) or with "
        "pytest.mark.anyio (AnyIO), or set asyncio_mode = auto"
    )


def _refusal(sentence: str) -> BaseException:
    """Return what ends a test with one sentence and no traceback."""
    return pytest.fail.Exception(sentence, pytrace=False)


def _is_asynchronous(item: Any) -> bool:
    function = getattr(item, "obj", None)
    inner = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return inspect.iscoroutinefunction(inner)


def _default_scope(config: pytest.Config) -> str:
    try:
        return str(config.getini("asyncio_default_test_loop_scope") or "function")
    except (KeyError, ValueError):  # pytest-asyncio before 0.26 has no such option
        return "function"


@contextlib.asynccontextmanager
async def open_resources(request: pytest.FixtureRequest, *, report_tasks: bool = False) -> AsyncIterator[Resources]:
    """Hold what the test opens on the running loop, and close it."""
    from proactor_echo.testing.resources import Resources

    resources = Resources(seed_of(request), report_tasks=report_tasks)
    request.node.stash[TEST_RESOURCES] = resources
    remember(request, resources)
    yield resources
    warn_left_open(request, await resources.close())


def resources_of(request: pytest.FixtureRequest) -> Resources:
    """Return what :func:`open_resources` has opened for the test."""
    resources: Resources = request.node.stash[TEST_RESOURCES]
    return resources


def seed_of(request: pytest.FixtureRequest) -> int:
    """Return a number that is the test's own and the same in every run with the same ``--proactor-echo-seed``."""
    return zlib.crc32(f"{request.config.stash[RUN_SEED]}/{request.node.nodeid}".encode())


def remember(request: pytest.FixtureRequest, resources: Resources) -> None:
    """Keep them for the report, should the test fail."""
    request.node.stash.setdefault(ALL_RESOURCES, []).append(resources)


def warn_left_open(request: pytest.FixtureRequest, left: list[str]) -> None:
    """Warn about it in the name of the test."""
    if left:
        request.node.warn(LeftOpenWarning(f"the test left open: {'; '.join(left)}"))


def faults_of(item: pytest.Item) -> str:
    """Return, as lines of text, the faults that the test had, and how to get the same again; empty without any."""
    lines = [
        f"{where}: {active} hits={active.hits}"
        for resources in item.stash.get(ALL_RESOURCES, [])
        for where, active in resources.faults()
    ]
    if lines:
        lines.append(f"the same again: --proactor-echo-seed={item.config.stash[RUN_SEED]}")
    return "\n".join(lines)
