"""TLS for servers and clients: its description, the contents of its files, sessions, and information per connection."""
