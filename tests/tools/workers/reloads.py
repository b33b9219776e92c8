"""Reload the workers of a server again and again, while clients connect, talk and leave.

    python tests/tools/workers/reloads.py
    python tests/tools/workers/reloads.py --reloads 100 --clients 50 --balance handoff

Every client sends and gets back some messages, and then ends its side and waits for the server's end. What is refused,
reset, lost or wrong is printed, and the exit status is 1 then.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter

MESSAGE = os.urandom(1000)
MESSAGES = 5


async def main(options: argparse.Namespace) -> int:
    """Run the server, the clients and the reloads; return the exit status."""
    command = [sys.executable, "-m", "proactor_echo"]
    serve = [*command, "tcp", "-p", "0", "--max-connections-per-source", "off", "--workers", str(options.workers)]
    if options.balance is not None:
        serve += ["--balance", options.balance]
    server = await asyncio.create_subprocess_exec(
        *serve, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    assert server.stderr is not None
    host, _, port = (await server.stdout.readline()).decode().split()[2].rpartition(":")
    outcomes: Counter[str] = Counter()
    over = asyncio.Event()
    clients = [
        asyncio.create_task(_visit(host, int(port), options.pause, over, outcomes)) for _ in range(options.clients)
    ]
    began = time.monotonic()
    for _ in range(options.reloads):
        reload = await asyncio.create_subprocess_exec(*command, "reload", str(server.pid))
        if await reload.wait():
            outcomes["a reload could not be asked for"] += 1
        line = await asyncio.wait_for(server.stderr.readline(), 60)
        if b"all workers have been replaced" not in line:
            outcomes[line.decode().strip()] += 1
    over.set()
    await asyncio.gather(*clients)
    stop = await asyncio.create_subprocess_exec(*command, "stop", str(server.pid))
    await stop.wait()
    outcomes[f"exit status {await server.wait()}"] += 1
    seconds = time.monotonic() - began
    print(f"{options.reloads} reloads, {outcomes.pop('served')} connections in {seconds:.1f} s")
    outcomes.pop("exit status 0", None)
    for outcome, count in outcomes.items():
        print(f"{count} times: {outcome}")
    return 1 if outcomes else 0


async def _visit(host: str, port: int, pause: float, over: asyncio.Event, outcomes: Counter[str]) -> None:
    while not over.is_set():
        try:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection(host, port)
                for _ in range(MESSAGES):
                    writer.write(MESSAGE)
                    if await reader.readexactly(len(MESSAGE)) != MESSAGE:
                        outcomes["wrong bytes"] += 1
                writer.write_eof()
                outcomes["served" if await reader.read() == b"" else "more bytes"] += 1
                writer.close()
                await writer.wait_closed()
        except (OSError, EOFError) as error:
            outcomes[repr(error)] += 1
        await asyncio.sleep(pause)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--balance", choices=["inherit", "reuseport", "handoff"], default=None)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds, so that Windows does not run out of ports")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(_parse())))
