"""Bytes in, frames out; and what may happen to a connection when. No sockets, no event loop, no clock."""
