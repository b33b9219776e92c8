"""The TLS filter alone, against the ssl module as its peer: no socket and no loop."""

from __future__ import annotations

import random
import ssl
from typing import Any

import pytest
from helpers.tls import client_context, server_context
from helpers.tls_peer import SslPeer, shake_hands

from proactor_echo.loops.tls import MANY, PIECE, TlsFilter, TlsState
from proactor_echo.loops.tls_records import RECORD

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def filter_and_peer(version: ssl.TLSVersion | None = None, *, server_side: bool = True) -> tuple[TlsFilter, SslPeer]:
    """Both ends after the handshake."""
    contexts = {True: server_context(), False: client_context()}
    if version is not None:
        contexts[server_side].maximum_version = version
    name = {True: None, False: "localhost"}
    ours = TlsFilter(contexts[server_side], server_side=server_side, server_hostname=name[server_side])
    peer = SslPeer(contexts[not server_side], server_side=not server_side, server_hostname=name[not server_side])
    shake_hands(ours, peer)
    return ours, peer


@pytest.mark.parametrize("server_side", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_opens_both_ends(version: ssl.TLSVersion, server_side: bool) -> None:
    ours, peer = filter_and_peer(version, server_side=server_side)
    assert ours.state is TlsState.OPEN
    assert ours.ssl_object is not None
    assert ours.ssl_object.version() == peer.ssl_object.version()


@pytest.mark.parametrize("server_side", [True, False])
def test_data_that_was_sent_before_the_handshake_arrives_after_it(server_side: bool) -> None:
    context = server_context() if server_side else client_context()
    ours = TlsFilter(context, server_side=server_side, server_hostname=None if server_side else "localhost")
    other = client_context() if server_side else server_context()
    peer = SslPeer(other, server_side=not server_side, server_hostname="localhost" if server_side else None)
    assert ours.send(b"early") == b""
    assert ours.early_size == 5
    shake_hands(ours, peer)
    assert ours.early_size == 0
    assert peer.read() == b"early"


def test_data_behind_the_last_message_of_the_handshake_waits_for_the_next_call() -> None:
    ours = TlsFilter(server_context(), server_side=True)
    peer = SslPeer(client_context(), server_hostname="localhost")
    peer.shake()
    assert ours.receive(peer.taken()) == b""
    peer.give(ours.take_output())
    assert peer.shake()
    peer.ssl_object.write(b"at once")
    assert ours.receive(peer.taken()) == b""
    assert ours.state is TlsState.OPEN
    assert ours.has_input
    assert ours.receive(b"") == b"at once"
    assert not ours.has_input


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not TLS: it began with 'GET /'"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not TLS: it began with 'SSH-2.0-OpenSSH_9.2'"),
        (b"\r\n", "not TLS: it began with 0d 0a"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", "not TLS: it began with 00 01 02 03 04 05 06 07"),
        (b"\x17\x03\x03\x00\x01a", "not TLS: it began with 17 03 03 00 01 61"),
    ],
)
def test_what_is_not_tls_costs_no_handshake(data: bytes, text: str) -> None:
    ours = TlsFilter(server_context(), server_side=True)
    assert ours.receive(data) == b""
    assert ours.state is TlsState.FAILED
    assert text in str(ours.error)
    assert ours.ssl_object is None
    assert ours.take_output() == b""


def test_the_peer_is_told_why_a_handshake_fails() -> None:
    ours = TlsFilter(server_context(), server_side=True)
    peer = SslPeer(ssl.create_default_context(), server_hostname="localhost")  # which does not trust the certificate
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(ours, peer)
    ours.receive(peer.taken())
    assert ours.state is TlsState.FAILED
    assert "UNKNOWN_CA" in str(ours.error)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_peers_close_notify_ends_its_direction_alone(version: ssl.TLSVersion) -> None:
    ours, peer = filter_and_peer(version)
    peer.ssl_object.write(b"last")
    peer.close()
    assert ours.receive(peer.taken()) == b"last"
    assert ours.state.value == "peer closed"
    assert ours.can_send
    peer.give(ours.send(b"answer") + ours.close())
    assert peer.read() == b"answer"
    assert peer.closed
    assert ours.state is TlsState.CLOSED


@pytest.mark.parametrize("version", VERSIONS)
def test_our_close_notify_ends_our_direction_alone(version: ssl.TLSVersion) -> None:
    ours, peer = filter_and_peer(version)
    peer.give(ours.send(b"question") + ours.close())
    assert ours.send(b"more") == b""
    assert ours.close() == b""
    assert peer.read() == b"question"
    assert peer.closed
    if version is ssl.TLSVersion.TLSv1_3:
        peer.ssl_object.write(b"answer")
        assert ours.receive(peer.taken()) == b"answer"
    peer.close()
    assert ours.receive(peer.taken()) == b""
    assert ours.state is TlsState.CLOSED


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_record_fails_behind_the_good_ones(version: ssl.TLSVersion) -> None:
    ours, peer = filter_and_peer(version)
    peer.ssl_object.write(b"good")
    good = peer.taken()
    peer.ssl_object.write(b"damaged")
    bad = bytearray(peer.taken())
    bad[-1] ^= 1
    assert ours.receive(good + bytes(bad)) == b"good"
    assert ours.state is TlsState.FAILED
    assert isinstance(ours.error, ssl.SSLError)
    assert ours.take_output()  # an alert
    assert ours.receive(good) == b""
    assert ours.send(b"x") == b""


def test_what_is_no_record_fails_at_once() -> None:
    ours, _ = filter_and_peer()
    assert ours.receive(b"GET") == b""
    assert ours.state is TlsState.FAILED


def test_a_renegotiation_is_refused() -> None:
    ours, _ = filter_and_peer(ssl.TLSVersion.TLSv1_2)
    ours.receive(b"\x16\x03\x03\x00\x01a")
    assert ours.state is TlsState.FAILED
    assert "renegotiation" in str(ours.error)


def test_the_bios_stay_small_until_a_connection_is_busy() -> None:
    ours, peer = filter_and_peer()
    fed: list[int] = []
    fill = ours._fill

    def counted(data: Any) -> int:
        fed.append(len(data))
        return fill(data)

    ours._fill = counted
    data = bytes(RECORD)
    for _ in range(MANY):
        peer.ssl_object.write(data)
        assert ours.receive(peer.taken()) == data
        assert len(ours.send(data)) > RECORD + RECORD // PIECE * 5
    assert max(fed) <= PIECE
    fed.clear()
    peer.ssl_object.write(data)
    assert ours.receive(peer.taken()) == data
    assert len(fed) == 1
    assert len(ours.send(data)) < RECORD + 64


def test_a_buffer_smaller_than_a_record_is_filled_again_and_again() -> None:
    ours, peer = filter_and_peer()
    data = random.Random(1).randbytes(3 * RECORD)
    peer.ssl_object.write(data)
    got = bytearray()
    buffer = bytearray(1000)
    count = ours.receive_into(peer.taken(), memoryview(buffer))
    while count:
        got += buffer[:count]
        count = ours.receive_into(b"", memoryview(buffer))
        assert bool(count) == (len(got) < len(data))
    assert bytes(got) == data
    assert not ours.has_input


class Run:
    """A seeded sequence of what can happen at both ends and on the way between them, and the model of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        version = self.random.choice(VERSIONS)
        self.ours, self.peer = filter_and_peer(version, server_side=self.random.random() < 0.5)
        self.tls_13 = version is ssl.TLSVersion.TLSv1_3
        self.to_peer, self.to_us = bytearray(), bytearray()  # ciphertext on its way
        self.sent, self.arrived = bytearray(), bytearray()  # by us, at the peer
        self.given, self.received = bytearray(), bytearray()  # by the peer, at us
        self.peer_said_goodbye = False

    def go(self) -> None:
        steps = [self.send, self.give, self.carry_there, self.carry_here, self.carry_here, self.peer_reads]
        for _ in range(self.random.randrange(5, 60)):
            self.random.choice(steps)()
        if self.random.random() < 0.5:
            self.random.choice([self.close, self.peer_closes])()
            for _ in range(self.random.randrange(10)):
                self.random.choice(steps)()
        self.finish()

    def size(self) -> int:
        sizes = [1, 7, 100, 1024, PIECE, PIECE + 1, RECORD, RECORD + 1, self.random.randrange(1, 70000)]
        return self.random.choice(sizes)

    def send(self) -> None:
        data = self.random.randbytes(self.size())
        allowed = self.ours.can_send
        self.to_peer += self.ours.send(data)
        self.look()
        if allowed:
            self.sent += data

    def give(self) -> None:
        if self.peer_said_goodbye or (self.peer.closed and not self.tls_13):
            return
        data = self.random.randbytes(self.size())
        self.peer.ssl_object.write(data)
        self.given += data
        self.to_us += self.peer.taken()

    def carry_there(self) -> None:
        count = self.random.randrange(len(self.to_peer) + 1)
        self.peer.give(bytes(self.to_peer[:count]))
        del self.to_peer[:count]

    def carry_here(self) -> None:
        whole = self.random.random() < 0.3
        count = len(self.to_us) if whole else self.random.randrange(min(len(self.to_us), 70000) + 1)
        data = bytes(self.to_us[:count])
        del self.to_us[:count]
        if self.random.random() < 0.5:
            self.received += self.ours.receive(data)
        else:
            buffer = bytearray(self.random.choice([1, 100, 4096, 20000, 100000]))
            for _ in range(self.random.randrange(1, 10)):
                got = self.ours.receive_into(data, memoryview(buffer))
                self.received += buffer[:got]
                data = b""
        self.look()

    def peer_reads(self) -> None:
        self.arrived += self.peer.read()
        self.to_us += self.peer.taken()

    def close(self) -> None:
        self.to_peer += self.ours.close()

    def peer_closes(self) -> None:
        self.peer_reads()  # or OpenSSL takes what it finds for an error
        self.peer.close()
        self.peer_said_goodbye = True
        self.to_us += self.peer.taken()

    def look(self) -> None:
        assert self.ours.error is None
        if self.ours.changed:
            self.ours.changed = False
            self.to_peer += self.ours.take_output()

    def finish(self) -> None:
        """Bring everything to where it belongs, then compare it with the model."""
        self.received += self.ours.receive(bytes(self.to_us))
        self.look()
        if self.ours.has_input:
            self.received += self.ours.receive(b"")
        self.peer.give(bytes(self.to_peer))
        self.peer_reads()
        assert self.received == self.given
        assert self.arrived == self.sent
        assert (self.ours.state in (TlsState.PEER_CLOSED, TlsState.CLOSED)) == self.peer_said_goodbye
        assert self.peer.closed == (not self.ours.can_send)
        assert not self.ours.has_input


@pytest.mark.parametrize("start", range(0, 300, 50))
def test_nothing_is_lost_or_reordered_in_random_sequences(start: int) -> None:
    for seed in range(start, start + 50):
        try:
            Run(seed).go()
        except BaseException as exc:
            exc.add_note(f"seed {seed}")
            raise
