"""connect_tcp and a name with several addresses (RFC 8305): the first that answers, soon, and nothing left behind."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from helpers.network import Address, Network, refusing_port
from helpers.peers import eventually, iterations

import proactor_echo as pe

NAME = "name.example"


@pytest_asyncio.fixture
async def there() -> AsyncIterator[Address]:
    async with await pe.serve_tcp(pe.echo) as server:
        yield server.addresses[0]


SILENT: Address = ("127.0.0.1", 9)
SILENT6: Address = ("::1", 9, 0, 0)


async def connect(**options: float | None) -> pe.Connection:
    async with asyncio.timeout(10):
        return await pe.connect_tcp(NAME, 9, **options)  # type: ignore[arg-type]


async def test_an_address_that_does_not_answer_is_passed_over_after_a_moment(network: Network, there: Address) -> None:
    network.names[NAME] = [SILENT, there]
    network.silent = {SILENT}
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with await connect(happy_eyeballs_delay=0.05) as conn:
        assert conn.peer == pe.format_address(there)
        assert loop.time() - started >= 0.045
        assert network.tried == [SILENT, there]
        assert len(network.open_sockets) == 1


async def test_an_address_that_refuses_is_passed_over_at_once(network: Network, there: Address) -> None:
    with refusing_port() as port:
        network.names[NAME] = [("127.0.0.1", port), there]
        async with await connect(happy_eyeballs_delay=60) as conn:
            assert conn.peer == pe.format_address(there)


async def test_the_first_answer_wins_though_it_was_asked_first(network: Network, there: Address) -> None:
    answer = asyncio.Event()
    network.names[NAME] = [there, SILENT]
    network.silent = {SILENT}

    async def late(address: Address) -> None:
        await answer.wait()

    network.before = late
    connecting = asyncio.create_task(connect(happy_eyeballs_delay=0.01))
    await eventually(lambda: SILENT in network.tried)
    answer.set()
    async with await connecting as conn:
        assert conn.peer == pe.format_address(there)
        assert len(network.open_sockets) == 1


async def test_two_answers_at_once_leave_one_connection(network: Network, there: Address) -> None:
    async with await pe.serve_tcp(pe.echo) as second:
        answer = asyncio.Event()
        network.names[NAME] = [there, second.addresses[0]]
        network.before = lambda address: answer.wait()
        connecting = asyncio.create_task(connect(happy_eyeballs_delay=0.01))
        await eventually(lambda: len(network.tried) == 2)
        await iterations(20)
        answer.set()
        async with await connecting as conn:
            await conn.send(b"x")
            assert await conn.receive() == b"x"
            assert len(network.open_sockets) == 1


async def test_the_families_take_turns_and_the_systems_first_choice_goes_first(network: Network) -> None:
    six: list[Address] = [("::1", 9, 0, 0), ("::2", 9, 0, 0), ("::3", 9, 0, 0)]
    four: list[Address] = [("127.0.0.1", 9), ("127.0.0.2", 9)]
    network.names[NAME] = [*six, *four]
    network.refusing = {*six, *four}
    with pytest.raises(pe.ConnectFailed):
        await connect()
    assert network.tried == [six[0], four[0], six[1], four[1], six[2]]


async def test_without_a_delay_addresses_are_tried_one_after_the_other(network: Network, there: Address) -> None:
    network.names[NAME] = [SILENT, there]
    network.silent = {SILENT}
    with pytest.raises(pe.ConnectFailed):
        await connect(happy_eyeballs_delay=None, open_timeout=0.05)
    assert network.tried == [SILENT]


async def test_when_all_fail_each_is_named_in_the_order_they_were_tried(network: Network) -> None:
    network.silent = {SILENT}
    with refusing_port() as one, refusing_port() as other:
        network.names[NAME] = [SILENT, ("127.0.0.1", one), ("127.0.0.1", other)]
        with pytest.raises(pe.ConnectFailed) as caught:
            await connect(happy_eyeballs_delay=0.001, open_timeout=0.3)
    words = str(caught.value)
    assert words.startswith("cannot connect to name.example:9: 127.0.0.1:9: no answer within 0.3 s; ")
    assert words.count("refused (") == 2
    assert words.index(f":{one}: ") < words.index(f":{other}: ")
    assert [type(error) for error in caught.value.errors] == [
        TimeoutError,
        ConnectionRefusedError,
        ConnectionRefusedError,
    ]
    assert network.open_sockets == []


@pytest.mark.parametrize("count", range(1, 24))
async def test_cancelled_after_any_number_of_iterations_it_leaves_nothing_open(
    network: Network, there: Address, count: int
) -> None:
    """Also while the losers are sent home, when there is a winner already."""
    network.names[NAME] = [SILENT, SILENT6, there]
    network.silent = {SILENT, SILENT6}
    reached = asyncio.Event()
    network.before = lambda address: reached.wait()
    connecting = asyncio.create_task(connect(happy_eyeballs_delay=0.001))
    await eventually(lambda: len(network.tried) == 3)
    reached.set()
    await iterations(count)
    connecting.cancel()
    await asyncio.wait([connecting])
    if not connecting.cancelled():
        await connecting.result().close()
    await eventually(lambda: not network.open_sockets, within=5)


async def test_out_of_descriptors_is_one_sentence(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    network.names[NAME] = [SILENT, SILENT6]
    monkeypatch.setattr("proactor_echo.net.tcp.happy_eyeballs.open_socket", none_left)
    with pytest.raises(pe.ConnectFailed, match="Too many open files"):
        await connect()
