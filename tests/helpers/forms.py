"""The two forms in which a server is written: a coroutine for each connection, or a protocol with callbacks."""

from typing import Any

import pytest

import proactor_echo as pe

FORMS: list[Any] = [
    pytest.param({"handler": pe.echo}, id="handler"),
    pytest.param({"protocol_factory": pe.EchoProtocol}, id="protocol"),
]
