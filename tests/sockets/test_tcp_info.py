"""What the system tells of a TCP connection, from each system's layout."""

import asyncio
import ctypes
import dataclasses
import json
import socket
import sys
from collections.abc import Callable

import pytest

import proactor_echo as pe
from proactor_echo.sockets.tcp_info import ask_windows, parse_linux, parse_macos, parse_windows

KINDS = {"u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "u64": ctypes.c_uint64}


def layout(*fields: str) -> type[ctypes.Structure]:
    """Make a structure as a C compiler would lay it out, of lines like ``"u32 rtt rttvar"``."""
    pairs = [(name, KINDS[kind]) for kind, *names in map(str.split, fields) for name in names]
    return type("Layout", (ctypes.Structure,), {"_fields_": pairs})


#: linux/tcp.h of Linux 6.7; the bit fields are the bytes "wscale" and "flags".
LINUX = layout(
    "u8 state ca_state retransmits probes backoff options wscale flags",
    "u32 rto ato snd_mss rcv_mss unacked sacked lost retrans fackets",
    "u32 last_data_sent last_ack_sent last_data_recv last_ack_recv pmtu rcv_ssthresh",
    "u32 rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans",
    "u64 pacing_rate max_pacing_rate bytes_acked bytes_received",
    "u32 segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out",
    "u64 delivery_rate busy_time rwnd_limited sndbuf_limited",
    "u32 delivered delivered_ce",
    "u64 bytes_sent bytes_retrans",
    "u32 dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash",
    "u16 total_rto total_rto_recoveries",
    "u32 total_rto_time",
)

#: mstcpip.h: TCP_INFO_v1, whose first 88 bytes are TCP_INFO_v0.
WINDOWS = layout(
    "u32 State Mss",
    "u64 ConnectionTimeMs",
    "u8 TimestampsEnabled",
    "u32 RttUs MinRttUs BytesInFlight Cwnd SndWnd RcvWnd RcvBuf",
    "u64 BytesOut BytesIn",
    "u32 BytesReordered BytesRetrans FastRetrans DupAcksIn TimeoutEpisodes",
    "u8 SynRetrans",
    "u32 SndLimTransRwin SndLimTimeRwin",
    "u64 SndLimBytesRwin",
    "u32 SndLimTransCwnd SndLimTimeCwnd",
    "u64 SndLimBytesCwnd",
    "u32 SndLimTransSnd SndLimTimeSnd",
    "u64 SndLimBytesSnd",
)

#: netinet/tcp.h of XNU: struct tcp_connection_info; "tfo" are its bit fields.
MACOS = layout(
    "u8 state snd_wscale rcv_wscale pad",
    "u32 options flags rto maxseg snd_ssthresh snd_cwnd snd_wnd snd_sbbytes rcv_wnd rttcur srtt rttvar tfo",
    "u64 txpackets txbytes txretransmitbytes rxpackets rxbytes rxoutoforderbytes txretransmitpackets",
)


class WindowsError(OSError):
    """What WSAIoctl fails with; ``OSError`` itself has ``winerror`` on Windows only."""

    def __init__(self, number: int) -> None:
        super().__init__(22, "refused")
        self.winerror = number


def test_the_layout_of_linux() -> None:
    info = parse_linux(
        bytes(
            LINUX(
                state=1, rto=204000, snd_mss=1448, unacked=7, sacked=2, lost=1, retrans=1, rtt=23, rttvar=13,
                snd_cwnd=10, rcv_space=1, bytes_received=1 << 40, notsent_bytes=11, min_rtt=7,
                delivery_rate=5 << 40, busy_time=100, rwnd_limited=60, sndbuf_limited=10, bytes_sent=3 << 40,
                bytes_retrans=12, snd_wnd=70656, rcv_wnd=65536, total_rto=3,
            )
        )
    )  # fmt: skip
    assert info == pe.TcpInfo(
        state="established", mss_bytes=1448, rtt_us=23, rtt_variance_us=13, min_rtt_us=7,
        retransmission_timeout_us=204000, congestion_window_bytes=14480, send_window_bytes=70656,
        receive_window_bytes=65536, in_flight_bytes=5 * 1448, unsent_bytes=11, sent_bytes=3 << 40,
        received_bytes=1 << 40, retransmitted_bytes=12, delivery_rate_bytes_per_s=5 << 40, timeouts=3,
        limited_by_receiver_us=60, limited_by_congestion_us=30, limited_by_sender_us=10,
    )  # fmt: skip
    assert info.send_limited_by == "receiver"


def test_an_older_kernel_tells_less() -> None:
    info = parse_linux(bytes(LINUX(state=8, rtt=23, snd_mss=1000, snd_cwnd=2))[:104])
    assert (info.state, info.rtt_us, info.congestion_window_bytes) == ("close-wait", 23, 2000)
    assert (info.min_rtt_us, info.sent_bytes, info.timeouts, info.limited_by_congestion_us) == (None,) * 4


def test_no_round_trip_was_measured_yet() -> None:
    assert parse_linux(bytes(LINUX(state=2, min_rtt=0xFFFFFFFF))).min_rtt_us is None


def test_the_layout_of_windows() -> None:
    data = bytes(
        WINDOWS(
            State=4, Mss=1460, ConnectionTimeMs=1 << 33, RttUs=21, MinRttUs=20, BytesInFlight=30, Cwnd=40, SndWnd=50,
            RcvWnd=60, RcvBuf=61, BytesOut=1 << 34, BytesIn=1 << 35, BytesRetrans=70, TimeoutEpisodes=2,
            SndLimTimeRwin=3, SndLimTimeCwnd=5, SndLimTimeSnd=4,
        )
    )  # fmt: skip
    expected = pe.TcpInfo(
        state="established", mss_bytes=1460, connected_ms=1 << 33, rtt_us=21, min_rtt_us=20, in_flight_bytes=30,
        congestion_window_bytes=40, send_window_bytes=50, receive_window_bytes=60, sent_bytes=1 << 34,
        received_bytes=1 << 35, retransmitted_bytes=70, timeouts=2, limited_by_receiver_us=3000,
        limited_by_congestion_us=5000, limited_by_sender_us=4000,
    )  # fmt: skip
    assert (len(data), parse_windows(data)) == (136, expected)
    assert expected.send_limited_by == "congestion"
    older = dataclasses.replace(
        expected, limited_by_receiver_us=None, limited_by_congestion_us=None, limited_by_sender_us=None
    )
    assert parse_windows(data[:88]) == older
    assert older.send_limited_by is None


def test_the_layout_of_macos() -> None:
    data = bytes(
        MACOS(
            state=9, rto=200, maxseg=1448, snd_cwnd=10, snd_wnd=20, snd_sbbytes=30, rcv_wnd=40, srtt=5, rttvar=2,
            txbytes=1 << 33, txretransmitbytes=7, rxbytes=1 << 34,
        )
    )  # fmt: skip
    assert len(data) == 112
    assert parse_macos(data) == pe.TcpInfo(
        state="fin-wait-2", retransmission_timeout_us=200_000, mss_bytes=1448, congestion_window_bytes=10,
        send_window_bytes=20, receive_window_bytes=40, rtt_us=5000, rtt_variance_us=2000, sent_bytes=1 << 33,
        retransmitted_bytes=7, received_bytes=1 << 34,
    )  # fmt: skip


def test_a_state_that_nobody_knows_yet() -> None:
    assert parse_linux(bytes(LINUX(state=200))).state == "unknown"


@pytest.mark.parametrize("refusal", [10022, 10045])
def test_windows_before_1809_is_asked_for_the_first_version(refusal: int) -> None:
    def ask(version: int, size: int) -> bytes:
        if version:
            raise WindowsError(refusal)
        return bytes(WINDOWS(State=4, RttUs=9))[:size]

    info = ask_windows(ask)
    assert info is not None
    assert info.rtt_us == 9


def test_windows_before_1703_has_none() -> None:
    def ask(version: int, size: int) -> bytes:
        raise WindowsError(10045)

    assert ask_windows(ask) is None


def test_another_error_of_windows_is_raised() -> None:
    def ask(version: int, size: int) -> bytes:
        raise WindowsError(10057)

    with pytest.raises(WindowsError):
        ask_windows(ask)


async def test_a_connection_has_counted_what_it_sent_and_received() -> None:
    async with (
        await pe.serve_tcp(pe.echo, "127.0.0.1", 0) as server,
        await pe.connect_tcp("127.0.0.1", server.port) as conn,
    ):
        await conn.send(bytes(1000))
        received = 0
        while received < 1000:
            received += len(await conn.receive())
        info = pe.tcp_info(conn)
    if info is None:
        assert sys.platform == "win32", "this system tells"
        pytest.skip("Wine has no SIO_TCP_INFO")
    assert (info.state, info.sent_bytes, info.received_bytes) == ("established", 1000, 1000)
    assert json.loads(json.dumps(info.as_dict()))["rtt_us"] == info.rtt_us


@pytest.mark.skipif(sys.platform != "linux", reason="Wine tells nothing to compare")
async def test_every_form_of_a_connection_will_do() -> None:
    opened: asyncio.Future[pe.FramedProtocol] = asyncio.get_running_loop().create_future()

    class Served(pe.FramedProtocol):
        def connection_opened(self) -> None:
            opened.set_result(self)

    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    protocol = await opened
    duplicate = writer.get_extra_info("socket").dup()
    with duplicate:
        states = [
            info.state
            for form in (protocol, protocol.transport, writer, writer.transport, duplicate)
            if (info := pe.tcp_info(form)) is not None
        ]
    assert states == ["established"] * 5
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_connection_that_has_ended_is_an_error() -> None:
    async with await pe.serve_tcp(pe.echo, "127.0.0.1", 0) as server:
        conn = await pe.connect_tcp("127.0.0.1", server.port)
        await conn.close()
        with pytest.raises(OSError, match="the connection is closed"):
            pe.tcp_info(conn)


def test_only_tcp_connections_have_it() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(ValueError, match=r"tcp_info\(\) is for TCP connections"),
    ):
        pe.tcp_info(datagrams)


@pytest.mark.parametrize("wrong", ["127.0.0.1:7", 5, None, object(), asyncio.Protocol()])
def test_what_is_no_connection_is_a_type_error(wrong: object) -> None:
    ask: Callable[[object], object] = pe.tcp_info  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"takes a connection, a transport or a socket, not "):
        ask(wrong)
