"""Lambda as a back end: one asynchronous invocation per runner."""

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from adapters.aws.clients import aws_call
from adapters.machines.backend import Launched, LaunchOrder, LaunchResult, Machine, Shortfall
from fleet.aws_errors import classify
from fleet.config.model import PoolConfig
from fleet.errors import FleetError
from fleet.rules.capacity import CapacityPool

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

# Invocations at once: the sockets of the function and GitLab take no more.
AT_ONCE = 16
MAILBOX_BYTES = 16  # of chance in the id of a mailbox


class LambdaBackend:
    """Runners in Lambda functions; each function is one size and one trust level."""

    name = "lambda"
    ends_alone = True

    def __init__(
        self,
        client: "LambdaClient",
        function_prefix: str,
        *,
        isolates: bool = False,
        new_secret: Callable[[], str] = lambda: secrets.token_hex(MAILBOX_BYTES),
    ) -> None:
        """`isolates`: the functions have tenant isolation, so each call names a tenant.

        `new_secret`: the part of a mailbox's id that cannot be guessed.
        """
        self._client = client
        self._prefix = function_prefix
        self._isolates = isolates
        self._new_secret = new_secret

    def capacity_pools(self, pool: PoolConfig) -> tuple[CapacityPool, ...]:
        """None: Lambda has one supply for each size, and no market."""
        return ()

    def launch(self, pool: PoolConfig, order: LaunchOrder) -> LaunchResult:
        """Invoke once per runner id, in parallel. The function's own retries are off."""
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pacer:
            answers = list(
                pacer.map(lambda runner_id: self._invoke(pool, runner_id, order), order.runner_ids)
            )
        return LaunchResult(
            launched=tuple(answer for answer in answers if isinstance(answer, Launched)),
            shortfalls=tuple(answer for answer in answers if isinstance(answer, Shortfall)),
        )

    def end(self, machine_ids: Sequence[str]) -> None:
        """Nothing: only a drain order or Lambda's time limit ends an invocation."""

    def mailboxes(self, machine_id: str) -> tuple[str, ...]:
        """None: only the runner's row and its invocation have the id of its mailbox."""
        return ()

    def machine(self, machine_id: str) -> Machine | None:
        """Lambda shows no invocations."""

    def machines(self) -> tuple[Machine, ...] | None:
        """Lambda shows no invocations."""
        return None

    def _tenant(self, runner_id: str, order: LaunchOrder) -> dict[str, str]:
        """Lambda gives no sandbox to two tenants. A runner for no job shares with no other one."""
        if not self._isolates:
            return {}
        served = order.served.get(runner_id)
        return {"TenantId": str(served.id) if served else runner_id}

    def _invoke(self, pool: PoolConfig, runner_id: str, order: LaunchOrder) -> Launched | Shortfall:
        trust_level = "protected-" if pool.protected_only else ""
        function = f"{self._prefix}{trust_level}{(pool.size or '').lower()}"
        # All sandboxes of a size have one role: its policy cannot tell their mailboxes apart.
        mailbox = f"lambda:{runner_id}:{self._new_secret()}"
        # Lambda keeps an event until it has room, and may deliver it too late.
        until = order.call_home_by.isoformat()
        event = {"runner_id": runner_id, "mailbox": mailbox, "until": until}
        served = order.served.get(runner_id)
        if served and served.path:
            event["project"] = served.path
        payload = json.dumps(event).encode()
        try:
            with aws_call("lambda.Invoke"):
                self._client.invoke(
                    FunctionName=function,
                    InvocationType="Event",
                    Payload=payload,
                    **self._tenant(runner_id, order),  # type: ignore[arg-type]
                )
        except FleetError as exc:
            code = str(exc.facts.get("code", ""))
            kind = classify(code)
            return Shortfall(kind=kind, code=code, capacity=None, message=str(exc.__cause__))
        return Launched(
            runner_id=runner_id,
            machine_id=f"{function}/{runner_id}",
            mailbox=mailbox,
            capacity=None,
        )
