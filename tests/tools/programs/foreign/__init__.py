"""Test suites of other projects, run on our loop and on asyncio's."""
