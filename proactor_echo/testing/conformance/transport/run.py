"""The requirements that an asyncio stream or datagram transport must meet, tried on any event loop.

They are those of asyncio's documentation ("Transports and Protocols") and, where it says nothing, what its own
transports do. Each is a function named after the requirement. It runs on a loop of its own, against peers that are
plain sockets in threads. An unexpected call of the loop's exception handler fails the requirement that is being tried.
"""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from proactor_echo.arguments import check_callable, check_names, check_seconds
from proactor_echo.testing.conformance.report import Outcome, Report, Result
from proactor_echo.testing.conformance.transport.accepting import ACCEPTING
from proactor_echo.testing.conformance.transport.closing import CLOSING
from proactor_echo.testing.conformance.transport.datagrams import DATAGRAMS
from proactor_echo.testing.conformance.transport.harness import Harness, NotObservable, RequirementFailed
from proactor_echo.testing.conformance.transport.known_defects import known_defect
from proactor_echo.testing.conformance.transport.reading import READING
from proactor_echo.testing.conformance.transport.writing import WRITING

__all__ = ["PROMISES", "Requirement", "check_transport"]

#: A function that tries one requirement, and raises RequirementFailed if it is not met.
Requirement = Callable[[Harness], Awaitable[None]]

#: All requirements by name.
PROMISES: Final[dict[str, Requirement]] = {
    requirement.__name__.replace("_", " "): requirement
    for requirement in (*READING, *WRITING, *CLOSING, *ACCEPTING, *DATAGRAMS)
}


def check_transport(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    *,
    timeout: float = 10.0,
    only: Iterable[str] | None = None,
    each: Callable[[Result], None] | None = None,
) -> Report:
    """Try every requirement of :data:`PROMISES` on loops that ``loop_factory`` makes, and return what was found.

    :param loop_factory: makes a new event loop for each requirement.
    :param timeout: seconds for each requirement.
    :param only: the names of the requirements to try.
    :param each: called with every result when it is there.

    A requirement that asyncio's own loops are known not to meet has the outcome ``known`` on them, and its detail names
    the CPython issue.

    Raises RuntimeError when called while an event loop is running, TypeError or ValueError for a wrong argument.
    """
    if _is_loop_running():
        raise RuntimeError("check_transport() runs event loops of its own: call it where none is running")
    check_callable("loop_factory", loop_factory)
    check_seconds("timeout", timeout)
    check_callable("each", each, optional=True)
    names = PROMISES if only is None else check_names("only", only, list(PROMISES))
    requirements = {name: PROMISES[name] for name in names}
    results: list[Result] = []
    subject = ""
    for name, requirement in requirements.items():
        started = time.perf_counter()
        loop, outcome, detail = _try(requirement, loop_factory, timeout)
        subject = f"{type(loop).__module__}.{type(loop).__qualname__}"
        if outcome is Outcome.FAILED and (known := known_defect(name, loop)):
            outcome, detail = Outcome.KNOWN, f"{known}: {detail}"
        results.append(Result(name, outcome, detail, seconds=time.perf_counter() - started))
        if each is not None:
            each(results[-1])
    return Report(subject, tuple(results))


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _try(
    requirement: Requirement, loop_factory: Callable[[], asyncio.AbstractEventLoop], timeout: float
) -> tuple[asyncio.AbstractEventLoop, Outcome, str]:
    """Run one requirement on a new loop; return the loop, closed, and what came of it."""
    with warnings.catch_warnings():
        # A transport that is never closed warns when it is collected; the requirement's own report says more.
        warnings.simplefilter("ignore", ResourceWarning)
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            loop = runner.get_loop()
            outcome, detail = runner.run(_try_in_harness(requirement, timeout))
        if outcome is not Outcome.OK:
            gc.collect()  # here, where such warnings are ignored
    return loop, outcome, detail


async def _try_in_harness(requirement: Requirement, timeout: float) -> tuple[Outcome, str]:
    harness = Harness(timeout)
    outcome = Outcome.FAILED
    try:
        async with asyncio.timeout(timeout):
            await requirement(harness)
    except TimeoutError:
        detail = f"waited {timeout:g} s for {harness.waiting_for}; events so far: {harness.so_far()}"
        if harness.reports:
            detail += f"; the loop reported: {harness.reports[0]}"
    except RequirementFailed as exc:
        detail = str(exc)
    except NotObservable as exc:
        outcome, detail = Outcome.SKIPPED, str(exc)
    except Exception as exc:  # raised by the loop or the transport
        detail = f"{type(exc).__name__}: {exc}; events so far: {harness.so_far()}"
    else:
        outcome = Outcome.FAILED if harness.reports else Outcome.OK
        detail = f"the loop reported: {harness.reports[0]}" if harness.reports else ""
    finally:
        harness.close()
    for _ in range(10):  # for what was aborted to come back
        await asyncio.sleep(0)
    return outcome, detail
