"""What Python tells: its build, its OpenSSL, and which event loop it gets."""

from __future__ import annotations

import platform
import selectors
import sys
import sysconfig

from proactor_echo.cli.doctor.rows import Row, Verdict
from proactor_echo.loops import EventLoop, private

__all__ = ["python_rows"]

#: The first and the last version whose sources were read for the private names of asyncio.
READ = ((3, 11), (3, 15))
#: Fixes for what came before ended in 2023.
OPENSSL_3 = (3, 0, 0)


def python_rows() -> list[Row]:
    """Look at this Python."""
    return [python(), openssl(), event_loop(), private_names()]


def python() -> Row:
    """Say which interpreter it is, and how it was built."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    wants = []
    if hasattr(sys, "gettotalrefcount"):
        wants.append("a debug build, several times slower")
    if sys.flags.dev_mode:
        wants.append("in development mode (-X dev), which checks a lot and is slow")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        wants.append("free-threaded, with which this package is not tested")
    # Debian's has the profile without the option, and Windows' does not tell how it was configured.
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    facts = {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "optimized": optimized or None,
    }
    built = platform.python_compiler() + (", optimized by a profile" if optimized else "")
    if wants:
        return Row("Python", Verdict.NOTE, f"{version} ({built}): {'; '.join(wants)}", facts)
    return Row("Python", Verdict.OK, f"{version} ({built})", facts)


def openssl() -> Row:
    """Say which TLS library there is."""
    try:
        import ssl
    except ImportError:
        return Row("OpenSSL", Verdict.BAD, "this Python has no ssl module: TLS cannot be spoken", {"version": None})
    facts = {"version": ssl.OPENSSL_VERSION, "tls_1_3": ssl.HAS_TLSv1_3}
    if not ssl.HAS_TLSv1_3:
        return Row("OpenSSL", Verdict.BAD, f"{ssl.OPENSSL_VERSION}, without TLS 1.3", facts)
    if ssl.OPENSSL_VERSION_INFO[:3] < OPENSSL_3:
        return Row(
            "OpenSSL", Verdict.NOTE, f"{ssl.OPENSSL_VERSION}, for which its makers have no fixes any more", facts
        )
    return Row("OpenSSL", Verdict.OK, ssl.OPENSSL_VERSION, facts)


def event_loop() -> Row:
    """Say which loop ``run`` and the command line get, and why."""
    ours = EventLoop.__module__.startswith("proactor_echo.")
    facts = {"loop": f"{EventLoop.__module__}.{EventLoop.__qualname__}", "ours": ours}
    if not ours:
        detail = f"asyncio's {EventLoop.__name__}: this Python lacks names that ours needs"
        return Row("event loop", Verdict.NOTE, detail, facts)
    how = "a completion port"
    if not private.WINDOWS:
        how = selectors.DefaultSelector.__name__.removesuffix("Selector").lower()
    return Row("event loop", Verdict.OK, f"this package's own, on {how}", {**facts, "on": how})


def private_names() -> Row:
    """Say whether asyncio has all that our loops use of it."""
    missing = private.missing()
    facts = {"missing": missing}
    if missing:
        return Row("private names", Verdict.NOTE, f"asyncio lacks {', '.join(missing)}", facts)
    if not READ[0] <= sys.version_info[:2] <= READ[1]:
        return Row("private names", Verdict.NOTE, "all are there, but this version was not read for them", facts)
    return Row("private names", Verdict.OK, "asyncio has all that the loop uses", facts)
