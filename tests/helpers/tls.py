"""TLS contexts with the package's certificates for tests."""

import ssl

from proactor_echo.testing import certificates


def server_context() -> ssl.SSLContext:
    return certificates.server_context()


def client_context() -> ssl.SSLContext:
    return certificates.client_context()
