"""A server that has no descriptors left goes on serving, and takes the clients who wait when it has some again."""

import asyncio
import sys

import pytest
from helpers.peers import RawClient

SERVER = """
import asyncio, logging, resource, sys
import proactor_echo as pe
from proactor_echo.loops import new_event_loop

async def main():
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    async with await pe.serve_tcp(pe.echo) as server:
        print(server.addresses[0][1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        print(server.stats.accepted, server.stats.accept_errors > 0)

with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop if sys.argv[1] == "stock" else new_event_loop) as runner:
    runner.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on handles to set")
@pytest.mark.stock_loop(because="this is the client's; the server runs on each in a process of its own")
@pytest.mark.parametrize("loop", ["stock", "ours"])
async def test_running_out_of_descriptors_is_survived_and_said_once(loop: str) -> None:
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, loop, stdin=pipe, stdout=pipe, stderr=pipe
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stderr is not None
    address = ("127.0.0.1", int(await server.stdout.readline()))
    clients = [await RawClient.connect(address) for _ in range(60)]
    line = await asyncio.wait_for(server.stderr.readline(), 10)
    assert (
        line
        == b"WARNING accepting on 127.0.0.1:%d is paused, trying again in 0.1 s: Too many open files\n" % (address[1])
    )
    early, late = clients[:30], clients[30:]
    for client in early:
        await client.send(b"served while others wait")
        assert await client.receive_exactly(24) == b"served while others wait"
        client.close()
    for client in late:
        await client.send(b"waited")
        assert await asyncio.wait_for(client.receive_exactly(6), 10) == b"waited"
        client.close()
    stdout, stderr = await asyncio.wait_for(server.communicate(b""), 10)
    assert stdout.split() == [b"60", b"True"]
    assert stderr == b""
