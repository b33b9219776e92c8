"""TCP: servers, clients, connections and protocols of frames, over any asyncio event loop."""
