"""TLS for servers and clients: its description, what its files hold, sessions, and what a connection tells of it."""
