"""Servers, clients and UDP endpoints over any asyncio event loop, through its public API."""
