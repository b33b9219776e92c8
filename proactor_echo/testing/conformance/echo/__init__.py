"""RFC 862 against any echo server."""
