"""The soak passes with the servers that we have, and finds out those that leak or lose."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from tools.soak import run
from tools.soak.server import Sample, kinds, slope
from tools.soak.verdicts import judge

SHORT = ["--seconds", "0.4", "--connections", "60", "--rate", "60", "--flood", "0", "--clients", "3", "--seed", "1"]

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the tool starts ten processes, which take long under Wine"
)


def test_memory_that_grows_has_a_slope() -> None:
    assert slope([Sample(second / 4, 0, 1000 * second, 0.0) for second in range(40)]) == pytest.approx(4000)


def test_lines_of_a_log_are_counted_by_their_kind() -> None:
    log = "".join(f"2026-11-25 07:00:0{n}+00:00 info: 127.0.0.1:{40000 + n}: reset after {n} bytes\n" for n in range(9))
    assert kinds(log) == {"info: PEER: reset after N bytes": 9}


def broken(name: str, *more: str) -> set[str]:
    """Soak a server for a moment and return what did not hold; times are not looked at, the machine has other work."""
    report = run.soak(name, run.parse([name, *SHORT, *more]))
    return {verdict.name for verdict in judge(report) if not verdict.holds} - {"honest clients are not delayed"}


@pytest.mark.parametrize("name", ["length", "udp"])
def test_our_servers_survive_a_short_soak(name: str) -> None:
    assert broken(name, "--udp-rate", "300", "--no-forged") == set()


def test_wrong_servers_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SETTLED", 0.3)
    wrong = {
        "loses-a-byte": "nothing lost",
        "leaks-a-descriptor": "no descriptors left",
        "leaks-a-task": "no tasks left",
        "leaks-memory": "no objects left",
    }
    with ThreadPoolExecutor() as threads:  # at the same time: each of them waits for its processes
        found = dict(zip(wrong, threads.map(lambda name: broken(name, "--late", "0.5"), wrong), strict=True))
    assert {name: wrong[name] in found[name] for name in wrong} == dict.fromkeys(wrong, True), found
