"""A proxy in front of the engine's EC2: it spoils launches, records terminations, and forgets.

Only the fleet's own functions call through it (`AWS_ENDPOINT_URL_EC2` in the engine's environment),
so every TerminateInstances that comes this way is the fleet's.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import boto3
import urllib3

from local.aws.engine import REGION
from local.chaos.ec2_memory import Ec2Memory
from local.chaos.fleet_call import (
    Disruption,
    FleetCall,
    LaunchFault,
    refused,
    shortened,
    with_errors,
)
from local.chaos.judge import EndedMachines
from local.chaos.query import Fields, read_fields, signed, write_fields
from local.loopback import Answerer, LoopbackServer

_TIMEOUT_S = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An HTTP answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True, kw_only=True)
class ProxyCalls:
    """The fleet's calls since the last look."""

    terminations: list[EndedMachines] = field(default_factory=list)
    launches: int = 0  # CreateFleet calls
    spoiled: int = 0  # of them, those that the fault changed


class Ec2Proxy(LoopbackServer):
    """A context. `fault` may be set at any time; None forwards every call unchanged."""

    def __init__(
        self,
        at_work: Callable[[], Mapping[int, str]] = dict,
        *,
        forgets_after_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind a free port of the loopback interface, so that `url` is known at once.

        `at_work` (runner ids by job id) is called just before a termination is forwarded. A machine
        that ended is unknown `forgets_after_s` after that first showed; EC2 takes an hour.
        """
        self._memory = Ec2Memory(forgets_after_s, clock)
        self.fault: LaunchFault | None = None
        self.at_work = at_work
        self._target: str | None = None
        self._session: boto3.Session | None = None
        self._calls = ProxyCalls()
        self._lock = threading.Lock()
        super().__init__(type("Answerer", (_Ec2Answerer,), {"proxy": self}))

    def forward_to(self, url: str, session: boto3.Session) -> None:
        """Where EC2 answers, and the account's root, as whom changed launches are asked for."""
        self._target, self._session = url, session

    def take_calls(self) -> ProxyCalls:
        """The calls since the last time."""
        with self._lock:
            calls, self._calls = self._calls, ProxyCalls()
        return calls

    def serve(self, headers: list[tuple[str, str]], body: bytes) -> HttpAnswer:
        """The engine's answer, or what the fault makes of it."""
        fields = read_fields(body)
        action = fields.get("Action", "")
        if action == "TerminateInstances":
            ids = tuple(v for name, v in fields.items() if name.startswith("InstanceId."))
            with self._lock:
                forgotten = self._memory.forgotten(ids)
            if forgotten:
                return _refusal("UnauthorizedOperation")
            self._note_termination(ids)
        if action == "CreateFleet":
            return self._launch(headers, body, FleetCall.of(fields))
        answer = self._forward(headers, body)
        if action in _SHOWS_MACHINES and answer.status == 200:
            with self._lock:
                return replace(answer, body=self._memory.passes(answer.body))
        return answer

    def _note_termination(self, ids: tuple[str, ...]) -> None:
        termination = EndedMachines(machine_ids=ids, at_work=self.at_work())
        with self._lock:
            self._calls.terminations.append(termination)

    def _launch(self, headers: list[tuple[str, str]], body: bytes, call: FleetCall) -> HttpAnswer:
        fault = self.fault
        disruption = fault(call) if fault else None
        with self._lock:
            self._calls.launches += 1
            self._calls.spoiled += disruption is not None
        if disruption is None:
            return self._forward(headers, body)
        if disruption.refuse:
            return _refusal(disruption.refuse)
        less = shortened(call, disruption)
        if less is None:
            return HttpAnswer(status=200, headers=_XML, body=with_errors(None, call, disruption))
        return self._launch_less(less, call, disruption)

    def _launch_less(self, less: Fields, call: FleetCall, disruption: Disruption) -> HttpAnswer:
        """Ask as the account's root: the fleet's own signature does not fit a changed request."""
        assert self._session
        body = write_fields(less)
        headers = signed(self._session, self._engine, body, region=REGION)
        answer = self._forward(headers, body)
        if answer.status != 200:
            return answer
        text = with_errors(answer.body, call, disruption)
        return HttpAnswer(status=200, headers=_XML, body=text)

    @property
    def _engine(self) -> str:
        if self._target is None:
            raise RuntimeError("the proxy does not know its engine yet")
        return self._target

    def _forward(self, headers: list[tuple[str, str]], body: bytes) -> HttpAnswer:
        """Send the call on unchanged, with the Host header that was signed."""
        try:
            answer = urllib3.request(
                "POST",
                f"{self._engine}/",
                body=body,
                headers=dict(_end_to_end(headers)),
                timeout=_TIMEOUT_S,
                retries=False,
            )
        except urllib3.exceptions.HTTPError:  # the engine restarts: say so as AWS would
            return _refusal("ServiceUnavailable")
        return HttpAnswer(
            status=answer.status,
            headers=tuple(_end_to_end(answer.headers.items())),
            body=answer.data,
        )


def _end_to_end(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP)


def _refusal(code: str) -> HttpAnswer:
    status, text = refused(code)
    return HttpAnswer(status=status, headers=_XML, body=text)


_SHOWS_MACHINES = frozenset({"DescribeInstances", "TerminateInstances"})
_XML = (("Content-Type", "text/xml;charset=UTF-8"),)


class _Ec2Answerer(Answerer):
    proxy: Ec2Proxy
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802  the name http.server asks for
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = self.proxy.serve(self.headers.items(), body)
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
