"""What the operating systems call things: options, addresses, binding, and what accepting may answer."""
