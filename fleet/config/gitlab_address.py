"""GitLab's address as people write it in `fleet.toml`, and whether the API can be below it."""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from fleet.config.values import shown

SAAS = "gitlab.com"
_EXAMPLE = 'such as "https://gitlab.example.com"'
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# The first part of a path that is a page of GitLab's and not the folder that GitLab lives in.
_PAGES = frozenset({"-", "users", "groups", "projects", "dashboard", "explore", "admin"})


def read_address(text: str) -> str:
    """The address as the client needs it: no slash at its end, scheme and host in lower case.

    Raises `ValueError` with a sentence that says what to write. A user or a password is not shown.
    """
    if "@" in text:
        raise ValueError("must not hold a user or a password")
    if re.search(r"[\s\x00-\x1f\x7f\\]", text):
        raise ValueError(f"must not hold a space, a line break or a backslash (is {shown(text)})")
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:  # an address in brackets that is none
        raise ValueError(f"must be {_EXAMPLE} (is {shown(text)})") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError(f"must be {_EXAMPLE} (is {shown(text)})")
    _check_host(host, text)
    port = _port(parts, text)
    if "?" in text or "#" in text:
        raise ValueError(f"must not contain a query or fragment (is {shown(text)})")
    base = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
    path = parts.path.rstrip("/")
    _check_saas(parts.scheme, host, path, text)
    _check_path(path, base, text)
    return base + path


def host_of(address: str) -> str:
    """The host of an address that `read_address` gave."""
    return urlsplit(address).hostname or ""


def _check_host(host: str, text: str) -> None:
    if not host.isascii():
        try:
            plain = host.encode("idna").decode()
        except UnicodeError:
            raise ValueError(f"must name a host (is {shown(text)})") from None
        raise ValueError(f'must have its host in ASCII, which is "{plain}" (is {shown(text)})')
    if ":" in host or re.fullmatch(r"[\d.]+", host):
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(
                f"must name a host: this is no IP address (is {shown(text)})"
            ) from None
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"must name a host (is {shown(text)})")


def _port(parts: SplitResult, text: str) -> str:
    """`:8443`, or nothing."""
    written = parts.netloc.rpartition("]")[2].partition(":")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or (written[1] and port is None):
        raise ValueError(f"must have a port from 1 to 65535, or none (is {shown(text)})")
    return "" if port is None else f":{port}"


def _check_path(path: str, base: str, text: str) -> None:
    api = re.match(r"(.*?)/api(?:/|$)", path)
    if api:
        root = base + api[1]
        raise ValueError(f'must end before the path of the API: write "{root}" (is {shown(text)})')
    first, *rest = path.removeprefix("/").split("/")
    if first in _PAGES or "-" in rest or path.endswith(".git"):
        raise ValueError(f'must be GitLab\'s own address: write "{base}" (is {shown(text)})')
    if not re.fullmatch(r"(?:/[\w.~-]+)*", path, re.ASCII) or {".", ".."} & {first, *rest}:
        raise ValueError(
            f"must end with the host, or the path that GitLab is below (is {shown(text)})"
        )


def _check_saas(scheme: str, host: str, path: str, text: str) -> None:
    if host.removeprefix("www.").removesuffix(".") != SAAS:
        return
    if path or host != SAAS or scheme != "https":
        advice = "; a group or project is named in runners_in" if path else ""
        raise ValueError(f'must be "https://{SAAS}"{advice} (is {shown(text)})')
