"""EC2's query protocol, as much as the proxy needs: form fields, and requests signed again."""

from urllib.parse import parse_qsl, urlencode

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

Fields = dict[str, str]


def read_fields(body: bytes) -> Fields:
    """The fields of a request, in its order."""
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def write_fields(fields: Fields) -> bytes:
    """The body of a request with these fields."""
    return urlencode(fields).encode()


def signed(session: boto3.Session, url: str, body: bytes, *, region: str) -> list[tuple[str, str]]:
    """The headers with which `session` may post this body to EC2 at `url`."""
    content = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    request = AWSRequest(method="POST", url=f"{url}/", data=body, headers=content)
    credentials = session.get_credentials()
    if credentials is None:
        raise RuntimeError("the session has no keys")
    SigV4Auth(credentials.get_frozen_credentials(), "ec2", region).add_auth(request)
    host = url.partition("://")[2]
    return [("Host", host), *((name, str(value)) for name, value in request.headers.items())]
