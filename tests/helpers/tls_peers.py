"""An echo server over TLS of the standard library's blocking sockets: no event loop, and nothing of this package's."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

Serve = Callable[[ssl.SSLSocket], None]


def echo(stream: ssl.SSLSocket) -> None:
    """Send back what comes; answer the peer's close_notify with one when everything is back."""
    while data := stream.recv(1 << 16):
        stream.sendall(data)
    stream.unwrap()


def abrupt(stream: ssl.SSLSocket) -> None:
    """End without a close_notify."""
    while data := stream.recv(1 << 16):
        stream.sendall(data)


@contextlib.contextmanager
def blocking_server(
    context: ssl.SSLContext,
    serve: Serve = echo,
    *,
    handshake_timeout: float | None = 0.5,
    in_accept: bool = False,
    goes_on_after_failure: bool = False,
) -> Iterator[tuple[str, int]]:
    """Serve each connection in a thread.

    ``in_accept``: handshakes are done one after the other, where connections are accepted.
    ``goes_on_after_failure``: a connection whose handshake failed stays open.
    """
    over = threading.Event()
    open_sockets: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def secure(sock: socket.socket) -> ssl.SSLSocket | None:
        sock.settimeout(handshake_timeout)
        stream = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True)
        open_sockets.add(stream)
        try:
            stream.do_handshake()
        except OSError:
            if goes_on_after_failure:
                over.wait()
            stream.close()
            return None
        stream.settimeout(None)
        return stream

    def serve_one(sock: socket.socket, stream: ssl.SSLSocket | None) -> None:
        stream = stream or secure(sock)
        if stream is None:
            return
        with contextlib.suppress(OSError, ValueError):
            serve(stream)
        stream.close()

    def accept() -> None:
        while not over.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            if over.is_set():
                sock.close()
                return
            stream = None
            if in_accept and (stream := secure(sock)) is None:
                continue
            threads.append(threading.Thread(target=serve_one, args=(sock, stream)))
            threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        address = listener.getsockname()
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield address
        finally:
            over.set()
            with contextlib.suppress(OSError), socket.create_connection(address, timeout=5):
                pass  # wakes accept()
            for sock in list(open_sockets):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()
