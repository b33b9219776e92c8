"""``--shard K/N``: run the Kth of N parts of what was selected, so that N processes can share a suite between them.

Which part a test is in depends on nothing but the selection: the test functions, in the order they were collected, are
dealt out like cards. All cases of a parametrised test stay together. The parts are disjoint and together the whole.
"""

import argparse
import re

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shard", type=_shard, default=(1, 1), metavar="K/N", help="run the Kth of N parts of the selection"
    )


@pytest.hookimpl(trylast=True)  # when -k and -m have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    number, of = config.getoption("--shard")
    functions = {function: place for place, function in enumerate(dict.fromkeys(map(_function, items)))}
    items[:] = [item for item in items if functions[_function(item)] % of == number - 1]


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    number, of = config.getoption("--shard")
    return [f"shard {number} of {of}: {len(items)} tests"] if of > 1 else []


def _function(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _shard(text: str) -> tuple[int, int]:
    written = re.fullmatch(r"(\d+)/(\d+)", text)
    if written is None or not 1 <= int(written[1]) <= int(written[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 1/2, the first of two parts")
    return int(written[1]), int(written[2])
