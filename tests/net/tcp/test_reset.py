"""A connection can be ended with a TCP reset, which the peer sees as one."""

import pytest
from helpers.peers import RawClient

import proactor_echo as pe


async def reset_at_once(conn: pe.Connection) -> None:
    await conn.receive()
    conn.reset()


async def test_the_peer_of_a_reset_gets_an_error_and_not_an_end_of_file() -> None:
    async with await pe.serve_tcp(reset_at_once) as server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"x")
        with pytest.raises(ConnectionError):
            await client.receive()


async def test_a_reset_is_an_abort_on_this_side() -> None:
    async with (
        await pe.serve_tcp(pe.echo) as server,
        await pe.connect_tcp(*server.addresses[0][:2]) as conn,
    ):
        conn.reset()
        assert (await conn.wait_closed()).reason is pe.DisconnectReason.ABORTED
        conn.reset()  # twice is as good as once
