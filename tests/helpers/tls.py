"""TLS contexts with a certificate for localhost that nobody trusts but the tests."""

import ssl
import tempfile
from pathlib import Path

KEY_AND_CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyx+s80Ex+D0T/r0P
8T+pe6Hd4b88q7Y6qeAHsJhqdLqhRANCAAQYfiXCQxcnyeRWhARRk3zxfi5p/YCO
KR0ewcClwmIhkuF0Qz2gTgtmWBFwsB2sSXpmXN88YwOXVESfjHj7gHqB
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBmjCCAUGgAwIBAgIUJGFYueIMa7eI7sTIuDp4615tD/4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzA2NDgwOVoYDzIxMjYxMDMw
MDY0ODA5WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQYfiXCQxcnyeRWhARRk3zxfi5p/YCOKR0ewcClwmIhkuF0Qz2gTgtm
WBFwsB2sSXpmXN88YwOXVESfjHj7gHqBo28wbTAdBgNVHQ4EFgQUzoGHdrO7jlJ8
A2ncSj6THGKhefEwHwYDVR0jBBgwFoAUzoGHdrO7jlJ8A2ncSj6THGKhefEwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDRwAwRAIgFwGGwChdj0F6tqvfacaoprpEHUFsZ/iMTDXc7AQXwmICIADw
6j7ixeFmYz00N8hLMnegQtJRzYfKijMf4n7wFGiK
-----END CERTIFICATE-----
"""


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "localhost.pem")
        path.write_text(KEY_AND_CERTIFICATE, "ascii")
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    certificate = KEY_AND_CERTIFICATE[KEY_AND_CERTIFICATE.index("-----BEGIN CERTIFICATE") :]
    return ssl.create_default_context(cadata=certificate)
