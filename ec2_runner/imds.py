"""EC2's instance metadata, version 2: the machine's region, and notices of its end.

Source: EC2 User Guide, "Use the Instance Metadata Service", "Spot Instance interruption notices".
"""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException

from fleet.errors import Transient

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"  # as botocore names it; may hold a path
ENDPOINT = "http://169.254.169.254"
TIMEOUT_S = 2.0
TOKEN_TTL_S = 21_600  # the longest that IMDS grants


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotNotice:
    """AWS takes the machine back."""

    action: str  # terminate, stop or hibernate
    at: datetime


class Imds:
    """A client of one machine's metadata. Every call raises `Transient` without an answer."""

    def __init__(self, endpoint: str = ENDPOINT) -> None:
        """`endpoint` without the `/latest`."""
        self._endpoint = endpoint.rstrip("/")
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token: str | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Imds":
        """The client of the endpoint that the environment names, else of EC2's own."""
        return cls(environment.get(ENDPOINT_VARIABLE) or ENDPOINT)

    def region(self) -> str:
        """The region's code. Raises `Transient` where the metadata lack it, too."""
        path = "meta-data/placement/region"
        text = self._get(path)
        if text is None:
            raise Transient("the instance metadata lacks this", path=path)
        return text

    def spot_notice(self) -> SpotNotice | None:
        """The interruption notice, two minutes ahead as a rule; `None` while there is none."""
        text = self._get("meta-data/spot/instance-action")
        if text is None:
            return None
        with _understood("spot/instance-action"):
            notice = json.loads(text)
            return SpotNotice(action=notice["action"], at=_time(notice["time"]))

    def rebalance_at(self) -> datetime | None:
        """When AWS began to advise leaving this machine; `None` while it does not."""
        text = self._get("meta-data/events/recommendations/rebalance")
        if text is None:
            return None
        with _understood("recommendations/rebalance"):
            return _time(json.loads(text)["noticeTime"])

    def _get(self, path: str) -> str | None:
        """The text at a path, `None` for 404. Replaces an expired token once."""
        for _ in range(2):
            try:
                if self._token is None:
                    self._token = self._ask("PUT", "api/token", {_TTL: str(TOKEN_TTL_S)})
                return self._ask("GET", path, {_TOKEN: self._token})
            except urllib.error.HTTPError as exc:
                if exc.code == 404 and self._token is not None:
                    return None
                if exc.code != 401 or self._token is None:
                    raise Transient("IMDS", path=path, status=exc.code) from exc
                self._token = None
        raise Transient("IMDS refuses its own token", path=path)

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> str:
        url = f"{self._endpoint}/latest/{path}"
        request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException, UnicodeDecodeError) as exc:
            raise Transient("no answer from the instance metadata", path=path) from exc


@contextmanager
def _understood(path: str) -> Iterator[None]:
    """Unreadable answers as `Transient`: the next one may be whole."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as exc:
        raise Transient("an unreadable answer of the instance metadata", path=path) from exc


_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105
_TTL = "X-aws-ec2-metadata-token-ttl-seconds"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
