"""Checks of arguments: one function for each kind of argument, called by everything that is public.

Each raises TypeError for what is of another kind and ValueError for a value that makes no sense. The text is one
sentence: it names the argument, shows what was given, and says what to write instead. Functions that open sockets check
their arguments before they open one; what is called for every message checks only when the call has failed.

``True`` is no number here, although it is an ``int``; nor are NaN and infinity a time.
"""

from __future__ import annotations

import functools
import math
import reprlib
from collections.abc import Callable, Iterable, Sequence, Set
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final

__all__ = [
    "check_address",
    "check_bytes",
    "check_callable",
    "check_choice",
    "check_coroutine",
    "check_factory",
    "check_flag",
    "check_handler",
    "check_host",
    "check_hosts",
    "check_instance",
    "check_made",
    "check_names",
    "check_number",
    "check_port",
    "check_seconds",
    "check_text",
    "check_whole",
    "check_write_limit",
]

#: What to write where an object of such a class is wanted.
_EXAMPLES: Final = {
    "Codec": "LineCodec()",
    "DatagramFault": "Loss(probability=0.1)",
    "KeepAlive": "KeepAlive(idle=60)",
    "SSLContext": "ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) with your certificate loaded",
    "SocketOptions": "SocketOptions(nodelay=False)",
    "StreamFault": "Latency(0.1)",
}


def check_instance(name: str, value: object, kind: type, *, optional: bool = False) -> None:
    """Check an object of our own or of the standard library: a codec, socket options, a TLS context, a fault."""
    if isinstance(value, kind) or (optional and value is None):
        return
    if isinstance(value, type) and issubclass(value, kind) and value is not kind:
        wanted = value.__name__
        raise TypeError(f"{name} must be an object and not its class: write {wanted}(), not {wanted}")
    example = _EXAMPLES.get(kind.__name__)
    write = f": write {example}" if example else ""
    raise TypeError(f"{name} must be {_article(kind.__name__)}{_or_none(optional)}, not {_shown(value)}{write}")


# -- numbers -----------------------------------------------------------------------------------------------------------


def check_seconds(
    name: str, value: object, *, zero: bool = False, optional: bool = False, most: float | None = None
) -> None:
    """Check a time in seconds: above 0, or with ``zero`` from 0 on; and never infinite."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds{_or_none(optional)}, not {_shown(value)}")
    if math.isfinite(value) and (value > 0 or (zero and value == 0)) and (most is None or value <= most):
        return
    least = "0 seconds or more" if zero else "more than 0 seconds" if most is None else "more than 0"
    bound = "" if most is None else f" and at most {most:g} seconds"
    without = ", or None for no limit" if optional else ""
    raise ValueError(f"{name} must be {least}{bound}{without}, not {value!r}")


def check_whole(
    name: str, value: object, *, least: int | None = 0, most: int | None = None, unit: str = "", optional: bool = False
) -> None:
    """Check a whole number: a count, or a size in bytes (``unit="bytes"``)."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        what = f"number of {unit}" if unit else "number"
        raise TypeError(f"{name} must be a whole {what}{_or_none(optional)}, not {_shown(value)}")
    if (least is not None and value < least) or (most is not None and value > most):
        bounds = f"from {least} to {most}" if most is not None else f"at least {least}" if least else "0 or more"
        what = unit.removesuffix("s") if bounds == "at least 1" else unit
        raise ValueError(f"{name} must be {bounds}{what and ' '}{what}, not {_shown(value)}")


def check_number(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf, most: float) -> None:
    """Check a share or a rate: above ``above``, from ``least``, to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {_shown(value)}")
    if value > above and least <= value <= most:  # not so for NaN
        return
    lower = f"more than {above:g}" if above > -math.inf else f"from {least:g}"
    upper = "" if most == math.inf else f" and at most {most:g}" if above > -math.inf else f" to {most:g}"
    raise ValueError(f"{name} must be {lower}{upper}, not {value!r}")


def check_write_limit(value: object) -> None:
    """Check ``(high, low)``, bytes of unsent output."""
    if value is None:
        return
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"write_limit is (high, low) in bytes, as in (65536, 16384), or None, not {_shown(value)}")
    high, low = value
    check_whole("write_limit's high", high, unit="bytes")
    check_whole("write_limit's low", low, unit="bytes")
    if low > high:
        raise ValueError(f"write_limit is (high, low) with high >= low >= 0, not {_shown(value)}")


def check_flag(name: str, value: object) -> None:
    """Check what is either on or off."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {_shown(value)}")


# -- text and bytes ----------------------------------------------------------------------------------------------------


def check_text(name: str, value: object) -> None:
    """Check a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {_shown(value)}")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Check one of a few words."""
    if not isinstance(value, str) or value not in choices:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{name} must be {_alternatives(choices)}, not {_shown(value)}")


def check_names(name: str, values: object, known: Sequence[str]) -> list[str]:
    """Check the names of a choice among many, and return them; the text offers what comes closest to a wrong one."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of names, as in [{known[0]!r}], not {_shown(values)}")
    names = list(values)
    for value in names:
        check_text(f"each of {name}", value)
        if value not in known:
            import difflib

            nearest = difflib.get_close_matches(str(value), known, 1, 0.5)
            meant = f"did you mean {nearest[0]!r}?" if nearest else f"write for example {known[0]!r}"
            raise ValueError(f"{name} must be names that there are, not {value!r}: {meant}")
    return names


def check_bytes(name: str, value: object) -> None:
    """Check a payload, when something has refused it: the bytes of a message, a delimiter."""
    try:
        memoryview(value)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        hint = ': encode text first, as in "text".encode()' if isinstance(value, str) else ""
        raise TypeError(f"{name} must be bytes, not {_shown(value)}{hint}") from None


# -- addresses ---------------------------------------------------------------------------------------------------------


def check_host(name: str, value: Any) -> None:
    """Check a host's kind. Whether there is such a host is found out later, and is no mistake of the program's."""
    if not isinstance(value, str):
        hint = f": write {name}={value[0]!r}, port={value[1]!r}" if _is_address(value) else ""
        raise TypeError(f'{name} must be a name or an address as text, as in "127.0.0.1", not {_shown(value)}{hint}')


def check_hosts(name: str, value: object) -> None:
    """Check one host or several; ``None`` has been dealt with."""
    if isinstance(value, str):
        return
    if not isinstance(value, Sequence | Set) or isinstance(value, bytes | bytearray) or _is_address(value):
        check_host(name, value)
    elif not value:
        raise ValueError(f"{name} is an empty list: name a host, or give None for every interface")


def check_port(name: str, value: object) -> None:
    """Check a port number."""
    if isinstance(value, bool) or not isinstance(value, int):
        hint = f": write {int(value)}" if isinstance(value, str) and value.isascii() and value.isdigit() else ""
        raise TypeError(f"{name} must be a number from 0 to 65535, not {_shown(value)}{hint}")
    if not 0 <= value <= 65535:
        raise ValueError(f"{name} must be a number from 0 to 65535, not {value!r}")


def check_address(name: str, value: object) -> None:
    """Check a ``(host, port)``; an address as ``getsockname()`` of an IPv6 socket gives it will do."""
    if not isinstance(value, tuple) or not 2 <= len(value) <= 4:
        raise TypeError(f"{name} must be (host, port), not {_shown(value)}: write {_as_pair(value)}")
    check_host(f"the host of {name}", value[0])
    check_port(f"the port of {name}", value[1])


def _is_address(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) >= 2 and isinstance(value[1], int)


def _as_pair(value: object) -> str:
    """Write an address as it should have been written, for a message."""
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if colon and port.isascii() and port.isdigit():
            return repr((host.removeprefix("[").removesuffix("]"), int(port)))
        return f"({value!r}, 9000)"
    if isinstance(value, list) and len(value) >= 2:
        return repr((value[0], value[1]))
    return '("127.0.0.1", 9000)'


# -- functions and classes ---------------------------------------------------------------------------------------------


def check_callable(name: str, value: object, *, optional: bool = False) -> None:
    """Check something that is called, with a result that is used at once."""
    if optional and value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} must be a function{_or_none(optional)}, not {_shown(value)}")
    if _is_async(value):
        raise TypeError(f"{name} must be a plain function, not {_shown(value)}: write def and not async def")


def check_handler(name: str, value: object) -> None:
    """Check a function that serves one connection in a coroutine."""
    import inspect  # at hand wherever there are coroutines, and not needed by a codec

    must = f"{name} must be an async function of one connection"
    if inspect.iscoroutine(value):
        value.close()  # nobody is going to wait for it, and a warning would hide the message
        raise TypeError(f"{must}, not a call of it: write {value.__name__}, not {value.__name__}(...)")
    if isinstance(value, type):
        raise TypeError(f"{must}, not {_shown(value)}: give a class as protocol_factory=")
    if not _is_async(value):
        hint = ": write async def, or functools.partial() of such a function" if callable(value) else ""
        raise TypeError(f"{must}, not {_shown(value)}{hint}")
    try:
        inspect.signature(value).bind(None)  # type: ignore[arg-type]  # it is callable
    except TypeError:
        raise TypeError(f"{must}, but {_shown(value)} cannot be called with one argument") from None
    except ValueError:
        pass  # it has no signature that can be read


def check_coroutine(name: str, value: object) -> None:
    """Check what a call of an async function returns."""
    import inspect

    if not inspect.iscoroutine(value):
        hint = f": write {getattr(value, '__name__', 'main')}(), a call" if _is_async(value) else ""
        raise TypeError(f"{name} must be a coroutine, not {_shown(value)}{hint}")


def check_factory(name: str, value: object, kind: type) -> None:
    """Check a class or function that makes a protocol; what a function makes is known only when it has been called."""
    must = f"{name} must be a class or function that makes a {kind.__name__}"
    if isinstance(value, kind):
        wanted = type(value).__name__
        raise TypeError(f"{must} each time, not one that is made already: write {wanted}, not {wanted}()")
    if isinstance(value, type):
        if not issubclass(value, kind):
            raise TypeError(f"{must}: {value.__qualname__} must be a subclass of {kind.__name__}")
    elif not callable(value):
        raise TypeError(f"{must}, not {_shown(value)}")
    elif _is_async(value):
        raise TypeError(f"{must}, not the async function {_shown(value)}")


def check_made(name: str, value: object, kind: type) -> None:
    """Check what such a function has made."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must make a {kind.__name__}, not {_shown(value)}")


def _is_async(value: object) -> bool:
    import inspect

    while isinstance(value, functools.partial):
        value = value.func
    call: Callable[..., Any] | None = getattr(type(value), "__call__", None)  # noqa: B004 (the method, not whether)
    return inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call)


# -- words -------------------------------------------------------------------------------------------------------------


_repr = reprlib.Repr()
_repr.maxother = _repr.maxstring = 80


def _shown(value: object) -> str:
    """Return a value as it would be written, cut short."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if isinstance(value, FunctionType | MethodType | BuiltinFunctionType):
        return f"{value.__qualname__}()"
    return _repr.repr(value).replace("\n", " ")


def _article(name: str) -> str:
    return f"{'an' if name.startswith(('A', 'E', 'I', 'O', 'SSL')) else 'a'} {name}"


def _or_none(optional: bool) -> str:
    return " or None" if optional else ""


def _alternatives(choices: Sequence[str]) -> str:
    words = [repr(choice) for choice in choices]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
