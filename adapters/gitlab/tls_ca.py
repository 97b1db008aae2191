"""The private certificate authority of a GitLab, read from a file."""

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

from fleet.errors import Refused

AT_MOST = 64 * 1024  # the ledger and every machine's credential hold it
_READ_AT_MOST = 1024 * 1024  # bytes: files of authorities have texts between the certificates
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def read_tls_ca(path: Path, *, at: datetime) -> str:
    """The certificates of a PEM file, and nothing else of it.

    Raises `Refused` for an unreadable file, one without a certificate or with a key, for expired
    certificates, and for more than `AT_MOST` bytes.
    """
    try:
        text = _read(path.expanduser())
    except UnicodeDecodeError:
        raise _wrong(path, "is not PEM text: convert it with `openssl x509 -inform der`") from None
    except OSError as exc:
        raise _wrong(path, f"cannot be read: {exc.strerror}") from exc
    if "PRIVATE KEY-----" in text:
        raise _wrong(path, "holds a private key: name a file with the certificate alone")
    blocks = _BLOCK.findall(text)
    if not blocks:
        raise _wrong(path, "holds no certificate: it must have a line BEGIN CERTIFICATE")
    pem = "\n".join(blocks) + "\n"
    if len(pem) > AT_MOST:
        raise _wrong(path, f"is over {AT_MOST // 1024} KB: name the one authority, not all of them")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as exc:
        raise _wrong(path, "holds a certificate that cannot be read") from exc
    ends = [
        ssl.cert_time_to_seconds(str(authority["notAfter"])) for authority in context.get_ca_certs()
    ]
    if ends and max(ends) <= at.timestamp():
        until = datetime.fromtimestamp(max(ends), UTC)
        raise _wrong(path, f"has expired on {until:%F}: name the present certificate")
    return pem


def _read(path: Path) -> str:
    """The text of a plain file: a device, as a fleet.toml of a stranger may name, has no end."""
    if path.exists() and not path.is_file():
        raise OSError(None, "it is no plain file")
    with path.open("rb") as file:
        return file.read(_READ_AT_MOST).decode()


def _wrong(path: Path, what: str) -> Refused:
    return Refused(f"tls_ca_file {what}", file=str(path))
