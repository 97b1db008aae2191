"""A machine's own mailbox: take the credential once, report, read orders."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from adapters.aws.clients import aws_call
from fleet.errors import Refused, Transient
from fleet.machine.mailbox import (
    BEATS,
    CREDENTIAL,
    ORDER,
    REPORT,
    Credential,
    Opener,
    Order,
    Report,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

POLL_S = (0.1, 0.2, 0.4, 1.0)  # then the last one repeatedly
_write, _read = TypeSerializer().serialize, TypeDeserializer().deserialize
_TAKEN = "ConditionalCheckFailedException"


def _now() -> datetime:
    return datetime.now(UTC)


class Mailbox:
    """The items of one machine. Every call raises `Transient` or `Refused`, nothing else."""

    def __init__(
        self, client: "DynamoDBClient", table: str, mailbox_id: str, opener: Opener
    ) -> None:
        """`mailbox_id`: `aws:userid` of an instance's role session, or the invocation's own."""
        self._client = client
        self._opener = opener
        self._table = table
        self.mailbox_id = mailbox_id

    def try_take_credential(self) -> Credential | None:
        """The credential, deleted in the same step so that it is taken once; or `None`."""
        item = self._get(CREDENTIAL)
        if item is None:
            return None
        credential = self._opened(item)  # before it is deleted: a KMS that is out keeps it there
        with aws_call("dynamodb.DeleteItem"):
            answer = self._client.delete_item(
                TableName=self._table, Key=self._key(CREDENTIAL), ReturnValues="ALL_OLD"
            )
        if "Attributes" in answer:
            taken = _plain(answer["Attributes"])
            return credential if taken == item else self._opened(taken)
        # botocore repeats a call whose answer was lost, and the second one deletes nothing.
        repeated = answer["ResponseMetadata"].get("RetryAttempts", 0) > 0
        return credential if repeated else None

    def take_credential(
        self,
        deadline: datetime,
        *,
        clock: Callable[[], datetime] = _now,
        pause: Callable[[float], None] = time.sleep,
    ) -> Credential | None:
        """Wait for the credential; `None` when there is none at `deadline`.

        Looks at least once. Raises `Transient` only at the deadline.
        """
        pauses = chain(POLL_S, repeat(POLL_S[-1]))
        while True:
            late = clock() >= deadline
            try:
                credential = self.try_take_credential()
            except Transient:
                if late:
                    raise
                credential = None
            if credential or late:
                return credential
            pause(min(next(pauses), max(0.0, (deadline - clock()).total_seconds())))

    def claim(self, report: Report) -> bool:
        """Write the first report; False when another process has written one."""
        item = {**report.item(), "pk": self.mailbox_id, "sk": REPORT}
        try:
            with aws_call("dynamodb.PutItem"):
                self._client.put_item(
                    TableName=self._table,
                    Item={key: _write(value) for key, value in item.items()},
                    ConditionExpression="attribute_not_exists(pk)",
                )
        except Refused as exc:
            if exc.facts["code"] != _TAKEN:
                raise
            # After a lost answer the repeated call meets its own report.
            stored = self._get(REPORT) if _was_repeated(exc) else None
            return stored is not None and stored["heartbeat_at"] == item["heartbeat_at"]
        return True

    def report(self, report: Report) -> None:
        """Write the report: append its steps, replace the rest."""
        item = report.item()
        steps = item.pop("steps")
        names = {f"#{key}": key for key in (*item, "steps")}
        sets = [f"#{key} = :{key}" for key in item]
        sets.append("#steps = list_append(if_not_exists(#steps, :none), :steps)")
        values = {f":{key}": _write(value) for key, value in item.items()}
        with aws_call("dynamodb.UpdateItem"):
            self._client.update_item(
                TableName=self._table,
                Key=self._key(REPORT),
                UpdateExpression="SET " + ", ".join(sets) + " ADD #beats :one",
                ExpressionAttributeNames=names | {"#beats": BEATS},
                ExpressionAttributeValues=values
                | {":none": _write([]), ":steps": _write(steps), ":one": _write(1)},
            )

    def order(self) -> Order | None:
        """The fleet's order to this machine, if any."""
        item = self._get(ORDER)
        return Order.of_item(item) if item else None

    def _get(self, kind: str) -> dict[str, Any] | None:
        with aws_call("dynamodb.GetItem"):
            answer = self._client.get_item(
                TableName=self._table, Key=self._key(kind), ConsistentRead=True
            )
        item = answer.get("Item")
        return _plain(item) if item else None

    def _key(self, kind: str) -> dict[str, Any]:
        return {"pk": {"S": self.mailbox_id}, "sk": {"S": kind}}

    def _opened(self, item: Mapping[str, Any]) -> Credential:
        try:
            return Credential.of_item(item, self._opener)
        except (LookupError, TypeError, ValueError) as exc:
            raise Refused("this credential cannot be read", error=type(exc).__name__) from None


def _was_repeated(exc: Refused) -> bool:
    answer = exc.__cause__.response if isinstance(exc.__cause__, ClientError) else {}
    return answer.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _read(value) for key, value in item.items()}
