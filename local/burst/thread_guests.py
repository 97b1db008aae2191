"""Guests that stand for EC2 machines without a process each: a thread for every instance."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import boto3
from botocore.config import Config

from adapters.aws.cipher import KmsCipher
from adapters.aws.clients import aws_call
from adapters.ledger.mailbox import Mailbox
from fleet.errors import Refused, Transient
from local.aws.engine import REGION
from local.beat import Beat
from local.burst.guest import Life, live
from local.machines.boot import GuestCloud, instances_up

BATCH = 100
# As the agent's own client, but patient: hundreds of guests share two cores with the engine.
CLIENT = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadGuestOptions:
    """How one burst differs from another."""

    stack: str
    machine_role: str  # ARN
    machine_role_id: str
    mailbox_table: str
    mailbox_key: str
    at_once: int  # guests, so threads
    boot_s: float = 2.0
    job_s: float = 1.0
    poll_s: float = 1.0


class ThreadGuests:
    """Lives through every instance of a stack; a context. `outcomes` counts how they ended."""

    def __init__(self, cloud: GuestCloud, options: ThreadGuestOptions) -> None:
        """Nothing starts before the context is entered."""
        self._cloud = cloud
        self._options = options
        self._session = boto3.Session(region_name=REGION)
        self._pool = ThreadPoolExecutor(options.at_once, thread_name_prefix="guest")
        self._living: dict[str, Future[str]] = {}
        self._up: frozenset[str] = frozenset()
        # Neither boto3's sessions nor `GuestCloud` may make two clients at once.
        self._making_clients = threading.Lock()
        self._watch = Beat(self._look, options.poll_s)
        self.outcomes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """End every guest; their instances are left as they are."""
        self._watch.__exit__()
        self._up = frozenset()
        self._pool.shutdown(cancel_futures=True)

    @property
    def living(self) -> int:
        """How many guests are at work, or whose end was not noticed yet."""
        return len(self._living)

    def _look(self) -> None:
        with suppress(Transient, Refused):  # the next look may be answered
            self._compare()

    def _compare(self) -> None:
        up = frozenset(
            instance["InstanceId"] for instance in instances_up(self._cloud, self._options.stack)
        )
        self._up = up
        over = [instance_id for instance_id, future in self._living.items() if future.done()]
        for instance_id in over:
            self.outcomes[_outcome(self._living[instance_id])] += 1
        self._terminate([instance_id for instance_id in over if instance_id in up])
        for instance_id in over:
            del self._living[instance_id]
        for instance_id in sorted(up - self._living.keys() - set(over)):
            self._living[instance_id] = self._pool.submit(self._live, instance_id)

    def _live(self, instance_id: str) -> str:
        options = self._options
        with self._making_clients:
            keys = self._cloud.role_environment(options.machine_role, instance_id)
            table, kms = self._client("dynamodb", keys), self._client("kms", keys)
        mailbox_id = f"{options.machine_role_id}:{instance_id}"
        life = Life(
            mailbox=Mailbox(
                table, options.mailbox_table, mailbox_id, KmsCipher(kms, options.mailbox_key)
            ),
            system_id=f"s_{instance_id}",
            boot_s=options.boot_s,
            job_s=options.job_s,
            is_up=lambda: instance_id in self._up,
        )
        try:
            return str(live(life))
        finally:
            table.close()
            kms.close()

    def _client(self, service: Any, keys: Mapping[str, str]) -> Any:
        return self._session.client(
            service,
            endpoint_url=self._cloud.url,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=keys["AWS_SESSION_TOKEN"],
            config=CLIENT,
        )

    def _terminate(self, instance_ids: list[str]) -> None:
        """A machine that has powered off is terminated by EC2 itself."""
        for start in range(0, len(instance_ids), BATCH):
            with aws_call("ec2.TerminateInstances"):
                self._cloud.client("ec2").terminate_instances(
                    InstanceIds=instance_ids[start : start + BATCH]
                )


def _outcome(ended: Future[str]) -> str:
    """The outcome of a guest; an error counts by its name."""
    error = ended.exception()
    return type(error).__name__ if error else ended.result()
