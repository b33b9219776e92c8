"""Sockets per operating system: options, addresses, binding, accept errors, ICMP errors."""
