"""What programs ask of a stream transport beside bytes: its names, its attributes, and calls out of time."""

from __future__ import annotations

from loops.recording import Bench, connection


def test_a_method_of_a_transport_may_be_replaced_as_tests_do(each: Bench) -> None:
    async def main() -> list[bytes]:
        async with connection() as (_, protocol):
            written: list[bytes] = []
            protocol.transport.write = written.append
            protocol.transport.write(b"caught")
            del protocol.transport.write
            return written

    assert each.run(main()) == [b"caught"]
