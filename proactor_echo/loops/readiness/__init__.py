"""The readiness engine: epoll, kqueue or poll says that a call would not block, so the engine makes it and reports."""
