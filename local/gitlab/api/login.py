"""Who sends a request: an access token, or a login with any name and a token as password."""

import base64
import binascii

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

LOGIN = {"WWW-Authenticate": 'Basic realm="GitLab"'}  # with a 401: git and browsers then log in
SAFE = {  # what a job or a person wrote runs nowhere
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class NotAdmitted(Exception):
    """The caller may not do this; `status` and the text are the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    @property
    def answer(self) -> Response:
        """The answer to the caller."""
        headers = {**SAFE, **(LOGIN if self.status == 401 else {})}
        return PlainTextResponse(f"{self}\n", status_code=self.status, headers=headers)


def access_token(request: Request) -> str | None:
    """The token of the header, of the query string, or of a Bearer."""
    token = request.headers.get("private-token") or request.query_params.get("private_token")
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return token or (text if scheme.lower() == "bearer" else None)


def basic_login(request: Request) -> tuple[str, str] | None:
    """The name and the password of HTTP Basic."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return name, password
