"""What several of the tests of TCP need."""

import pytest
import pytest_asyncio
from helpers.network import Network


@pytest_asyncio.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)
