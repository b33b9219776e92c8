"""pyzmq, whose sockets are threads in C that tell the loop by a descriptor it watches."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from typing import Any

import zmq.asyncio
from tools.programs.third_party.setting import Setting


async def dealers(setting: Setting) -> None:
    """20 of them, 300 messages each, through one router that answers."""
    warnings.filterwarnings("ignore", "Proactor event loop does not implement add_reader")  # on Windows, stock or ours
    context = zmq.asyncio.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    async def answer() -> None:
        while True:
            message = await router.recv_multipart()
            setting.check_loop()
            await router.send_multipart(message)

    async def deal(name: int) -> None:
        dealer: Any = context.socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        for number in range(300):
            await dealer.send(b"%d/%d" % (name, number) * 50)
        for number in range(300):
            assert await dealer.recv() == b"%d/%d" % (name, number) * 50
        dealer.close()

    answering = asyncio.ensure_future(answer())
    await asyncio.gather(*(deal(name) for name in range(20)))
    answering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answering
    router.close()
    context.term()


PARTS = {"20 dealers and a router": dealers}
