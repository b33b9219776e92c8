"""What asyncio's stream and datagram transports must do, tried on any event loop."""
