"""The command line in this process: real servers, visited by a client, ended by a signal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from helpers.cli_process import Ended

import proactor_echo as pe
from proactor_echo.cli import main

Client = Callable[[Any], Awaitable[object]]


class CommandLine:
    """Runs commands in this process. A server that is started gets ``client`` as a visitor, then Ctrl+C."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.asked: dict[str, Any] = {}
        self.client: Client | None = None
        self._capsys = capsys
        for where, name in (("tcp_service", "serve_tcp"), ("udp_service", "serve_udp")):
            monkeypatch.setattr(f"proactor_echo.cli.{where}.{name}", self._visited(getattr(pe, name)))

    def run(self, *arguments: str) -> Ended:
        try:
            main.main([*arguments], prog_name="proactor-echo")
        except SystemExit as end:
            status = end.code
        assert isinstance(status, int)
        return Ended(status, *self._capsys.readouterr())

    def _visited(self, serve: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def visited(*arguments: Any, **options: Any) -> Any:
            self.asked = options | dict(zip(("handler", "host", "port"), arguments, strict=False))
            server = await serve(*arguments, **options)
            self._visit = asyncio.create_task(self._visit_and_stop(server))
            return server

        return visited

    async def _visit_and_stop(self, server: Any) -> None:
        try:
            if self.client is not None:
                await self.client(server)
        finally:
            signal.raise_signal(signal.SIGINT)
