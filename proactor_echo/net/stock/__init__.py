"""Repairs of asyncio's own event loops, for those who run on one of them; ours need none of this."""
