"""Sizes, times, limits and keepalive, as they are written on a command line."""

import click
import pytest

from proactor_echo import KeepAlive, Rate
from proactor_echo.cli.types import (
    ByteSize,
    KeepAliveTimes,
    LimitOrOff,
    MinRate,
    NetworkText,
    RateOrOff,
    Seconds,
    format_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("512", 512), ("64k", 65536), ("64K", 65536), ("1m", 1 << 20), ("2g", 2 << 30), (" 1k ", 1024)],
)
def test_a_size_is_bytes_or_a_multiple_of_1024(text: str, size: int) -> None:
    assert ByteSize(1, 1 << 40).convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "k", "1.5k", "-1", "64kb", "1_000", "0x10", "64 q", "²", "٣"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        click.BadParameter, match="is not a size: write bytes, or k, m or g after the number, as in 64k"
    ):
        ByteSize(1, 1 << 40).convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "3k", "2049"])
def test_a_size_out_of_bounds_is_refused_with_the_bounds(text: str) -> None:
    with pytest.raises(click.BadParameter, match=f"'{text}' is not between 1 and 2k bytes"):
        ByteSize(1, 2048).convert(text, None, None)


@pytest.mark.parametrize(("size", "text"), [(0, "0"), (1, "1"), (1000, "1000"), (65536, "64k"), (1 << 20, "1m")])
def test_a_size_is_written_as_it_is_read(size: int, text: str) -> None:
    assert format_size(size) == text
    assert ByteSize(0, 1 << 40).convert(text, None, None) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0.25", 0.25), ("0", 0.0), ("1e3", 1000.0), ("5s", 5.0), ("1.5m", 90.0), ("1H", 3600.0)],
)
def test_a_time_is_seconds_with_fractions_or_a_unit(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "5d", "s", "-1m", "infs", "off"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a number of seconds, 0 or more"):
        Seconds().convert(text, None, None)


def test_a_time_that_can_be_off_is_none_then() -> None:
    assert Seconds(can_be_off=True).convert("off", None, None) is None
    assert Seconds(can_be_off=True).convert("0.5", None, None) == 0.5


@pytest.mark.parametrize("text", ["0", "no"])
def test_a_time_that_can_be_off_is_not_0(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a number of seconds above 0, or off"):
        Seconds(can_be_off=True).convert(text, None, None)


@pytest.mark.parametrize(("text", "limit"), [("1", 1), ("10000", 10000), ("off", None)])
def test_a_limit_is_a_number_or_off(text: str, limit: int | None) -> None:
    assert LimitOrOff().convert(text, None, None) == limit


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "²"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a whole number of 1 or more, or off"):
        LimitOrOff().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "keepalive"),
    [
        ("60,5,10", KeepAlive(60, 5, 10)),
        ("1.5,0.5,3", KeepAlive(1.5, 0.5, 3)),
        ("5m,10s,3", KeepAlive(300, 10, 3)),
        ("off", None),
    ],
)
def test_keepalive_is_three_numbers_or_off(text: str, keepalive: KeepAlive | None) -> None:
    assert KeepAliveTimes().convert(text, None, None) == keepalive


@pytest.mark.parametrize("text", ["", "60", "60,5", "60,5,10,1", "60,5,ten", "60,5,1.5", "on"])
def test_what_is_no_keepalive_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not IDLE,INTERVAL,COUNT, as in 60,5,10, or off"):
        KeepAliveTimes().convert(text, None, None)


def test_keepalive_that_no_system_takes_is_refused_with_the_reason() -> None:
    with pytest.raises(click.BadParameter, match="keepalive idle must be more than 0 and at most 32767 seconds"):
        KeepAliveTimes().convert("0,5,10", None, None)


def test_a_size_that_can_be_off_is_none_then() -> None:
    assert ByteSize(1, 2048, can_be_off=True).convert("off", None, None) is None
    assert ByteSize(1, 2048, can_be_off=True).convert("1k", None, None) == 1024


@pytest.mark.parametrize(
    ("text", "rate"), [("100", Rate(100)), ("0.5", Rate(0.5)), ("100/500", Rate(100, 500)), ("off", None)]
)
def test_a_rate_is_events_a_second_and_perhaps_a_burst(text: str, rate: Rate | None) -> None:
    assert RateOrOff().convert(text, None, None) == rate


@pytest.mark.parametrize("text", ["", "/", "5/", "fast", "5/x", "5 a second"])
def test_what_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a number a second, as in 100, or with a burst 100/500;"):
        RateOrOff().convert(text, None, None)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "5/0.5"])
def test_a_rate_out_of_bounds_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"must be from .* not "):
        RateOrOff().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "network"), [("192.0.2.0/24", "192.0.2.0/24"), ("192.0.2.7", "192.0.2.7/32"), ("2001:db8::/32",) * 2]
)
def test_a_network_is_one_address_or_many(text: str, network: str) -> None:
    assert NetworkText().convert(text, None, None) == network


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2.0/33", "fe80::%eth0/64"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no network|has a zone"):
        NetworkText().convert(text, None, None)


def test_an_address_within_a_network_is_refused_with_the_network() -> None:
    with pytest.raises(click.BadParameter, match=r'within a network: write "192\.0\.2\.0/24"'):
        NetworkText().convert("192.0.2.9/24", None, None)


@pytest.mark.parametrize(("text", "pair"), [("240,5", (240, 5)), ("0.5,1m", (0.5, 60)), ("off", None)])
def test_a_minimum_rate_is_bytes_a_second_and_grace(text: str, pair: tuple[float, float] | None) -> None:
    assert MinRate().convert(text, None, None) == pair


@pytest.mark.parametrize("text", ["", "240", "240,", "1,2,3", "x,5", "240,-1", "0,5", "240,0", "nan,5", "240,inf"])
def test_what_is_no_minimum_rate_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"as in 240,5, or off|of min_rate must be"):
        MinRate().convert(text, None, None)
