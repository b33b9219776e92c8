"""Make the certificates in proactor_echo/testing/certificates again: a new authority, new keys, all of them.

    python tests/tools/certificates/make.py

It needs the `openssl` command, 3.0 or later. The keys are EC P-256. All of them are valid from 2020 to 2099 but the one
that is expired. The authorities' own keys are thrown away, so that nobody can sign anything else with them: who trusts
the authority by mistake trusts these few certificates. That is also why all of them are made at once.

Python 3.13 checks with VERIFY_X509_STRICT (RFC 5280), which wants authorityKeyIdentifier, a critical basicConstraints
and a keyUsage.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "proactor_echo" / "testing" / "certificates"

MARK = "proactor_echo TEST ONLY"

FROM = "20200101000000Z"
UNTIL = "20991231235959Z"

PUBLIC = "The key is public"
THROWN_AWAY = "Its key was thrown away, and those that it has signed have public keys"

PASSWORD = "proactor_echo"

LOCALHOST = "DNS:localhost,IP:127.0.0.1,IP:::1"


@dataclass(frozen=True)
class Leaf:
    """A certificate that an authority signs, and what is said of it at the head of its file."""

    name: str
    about: str
    usage: str = "serverAuth"
    names: str = LOCALHOST
    authority: str = "ca"
    until: str = UNTIL
    encrypted: bool = False


LEAVES = (
    Leaf("localhost", "a server's, for localhost, 127.0.0.1 and ::1"),
    Leaf("renewed", "what `localhost` is renewed with: the same names, another key"),
    Leaf("locked", f"a server's whose key has the password {PASSWORD!r}", encrypted=True),
    Leaf("expired", "a server's that was valid until the end of 2020", until="20201231235959Z"),
    Leaf("wrong_name", "a server's for somewhere-else.invalid alone", names="DNS:somewhere-else.invalid"),
    Leaf("client", "a client's", usage="clientAuth", names="email:client@proactor-echo.invalid"),
    Leaf(
        "stranger",
        "a client's, signed by an authority that no other file here knows",
        usage="clientAuth",
        names="email:stranger@proactor-echo.invalid",
        authority="another",
    ),
)

SETTINGS = """
[ca]
default_ca = signing
[signing]
database = {folder}/index.txt
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = anything
unique_subject = no
[anything]
commonName = supplied
organizationName = optional
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""

EXTENSIONS = """
[{leaf.name}]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = {leaf.usage}
subjectAltName = {leaf.names}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""


def main() -> None:
    """Make all of them."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "index.txt").touch()
        extensions = "".join(EXTENSIONS.format(leaf=leaf) for leaf in LEAVES)
        (work / "openssl.cnf").write_text(SETTINGS.format(folder=work) + extensions, "utf-8")
        for authority in sorted({leaf.authority for leaf in LEAVES}):
            request(work, authority, f"{MARK} authority{'' if authority == 'ca' else f' ({authority})'}")
            sign(work, authority, "authority", UNTIL, "-selfsign", "-keyfile", f"{authority}.key")
        write("ca.pem", "the authority that has signed the others", (work / "ca.crt").read_text("ascii"), THROWN_AWAY)
        for leaf in LEAVES:
            request(work, leaf.name, f"{MARK} {leaf.name}")
            sign(
                work, leaf.name, leaf.name, leaf.until,
                "-cert", f"{leaf.authority}.crt", "-keyfile", f"{leaf.authority}.key",
            )  # fmt: skip
            write(f"{leaf.name}.pem", f"a certificate, {leaf.about}", (work / f"{leaf.name}.crt").read_text("ascii"))
            write(f"{leaf.name}-key.pem", f"the key of {leaf.name}.pem", key(work, leaf))


def request(work: Path, name: str, subject: str) -> None:
    """Make a key and ask for a certificate."""
    openssl(work, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", f"{name}.key")
    openssl(work, "req", "-new", "-key", f"{name}.key", "-subj", f"/O={MARK}/CN={subject}", "-out", f"{name}.csr",
            "-config", "openssl.cnf", "-batch", "-section", "ca")  # fmt: skip


def sign(work: Path, name: str, extensions: str, until: str, *signer: str) -> None:
    """Sign what was asked for."""
    openssl(work, "ca", "-config", "openssl.cnf", "-batch", "-notext", "-in", f"{name}.csr", "-out", f"{name}.crt",
            "-extensions", extensions, "-startdate", FROM, "-enddate", until, *signer)  # fmt: skip


def key(work: Path, leaf: Leaf) -> str:
    """Return the key, with its password where it has one."""
    if not leaf.encrypted:
        return (work / f"{leaf.name}.key").read_text("ascii")
    return openssl(work, "pkcs8", "-topk8", "-in", f"{leaf.name}.key", "-passout", f"pass:{PASSWORD}")


def write(name: str, about: str, pem: str, why: str = PUBLIC) -> None:
    """Write a file that says what it is before the PEM, where OpenSSL takes no notice of it."""
    head = f"{MARK}: {about}.\n{why}: never trust it outside a test.\n\n"
    (FOLDER / name).write_text(head + pem, "ascii", newline="\n")


def openssl(work: Path, *arguments: str) -> str:
    """Run the command and return what it printed."""
    done = subprocess.run(["openssl", *arguments], cwd=work, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"openssl {' '.join(arguments)}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
