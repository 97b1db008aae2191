"""The demand queues: one message for each launch that a waiting job needs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.aws.clients import aws_call
from fleet.errors import Transient
from fleet.model import JobKey
from fleet.rules.demand import hidden_s

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

BATCH = 10  # messages of one call to SQS


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The content of a message: this job needs a runner of this pool."""

    job: JobKey
    project_id: int
    pool: str
    attempt: int

    def body(self) -> dict[str, object]:
        """The message's JSON object."""
        return {
            "instance": self.job.instance,
            "job_id": self.job.job_id,
            "project_id": self.project_id,
            "pool": self.pool,
            "attempt": self.attempt,
        }

    @property
    def group(self) -> str:
        """The message group: SQS serves quiet projects first. Source: SQS fair queues."""
        return f"{self.job.instance}:{self.project_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A received message. `demand` is None for a message that the fleet did not write."""

    demand: Demand | None
    receipt: str
    times: int  # how often it was received, this time included


class DemandQueue:
    """One back end's queue and its dead-letter queue."""

    def __init__(self, client: "SQSClient", url: str, dead_letter_url: str) -> None:
        self._client = client
        self._url = url
        self._dead_letter_url = dead_letter_url

    @property
    def url(self) -> str:
        """The queue's address."""
        return self._url

    @property
    def dead_letters(self) -> "DemandQueue":
        """Its dead-letter queue."""
        return DemandQueue(self._client, self._dead_letter_url, "")

    def depth(self) -> int:
        """About how many messages the queue has, received messages included."""
        return self._depth(self._url)

    def dead(self) -> int:
        """About how many messages the dead-letter queue has."""
        return self._depth(self._dead_letter_url)

    def send(self, demands: Iterable[Demand]) -> None:
        """Send many. SQS may deliver each more than once."""
        self._send(self._url, list(demands))

    def bury(self, demand: Demand) -> None:
        """Send a demand whose attempts are used to the dead-letter queue, which raises an alarm."""
        self._send(self._dead_letter_url, [demand])

    def receive(self) -> tuple[Received, ...]:
        """Up to ten visible messages, hidden from others for the queue's time-out."""
        with aws_call("sqs.ReceiveMessage"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return tuple(
            Received(
                demand=_read(message["Body"]),
                receipt=message["ReceiptHandle"],
                times=int(message.get("Attributes", {}).get("ApproximateReceiveCount", "1")),
            )
            for message in answer.get("Messages", [])
        )

    def delete(self, messages: Sequence[Received]) -> None:
        """Delete messages whose jobs are served, or no longer need a runner."""
        entries = [
            {"Id": str(n), "ReceiptHandle": message.receipt} for n, message in enumerate(messages)
        ]
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            with aws_call("sqs.DeleteMessageBatch"):
                self._client.delete_message_batch(QueueUrl=self._url, Entries=batch)  # type: ignore[arg-type]

    def postpone(self, messages: Sequence[Received]) -> None:
        """Make messages visible again, each after the time that the rule gives it."""
        entries = [
            {
                "Id": str(n),
                "ReceiptHandle": message.receipt,
                "VisibilityTimeout": hidden_s(message.times),
            }
            for n, message in enumerate(messages)
        ]
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            with aws_call("sqs.ChangeMessageVisibilityBatch"):
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=batch)  # type: ignore[arg-type]

    def _depth(self, url: str) -> int:
        with aws_call("sqs.GetQueueAttributes"):
            answer = self._client.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                ],
            )
        return sum(int(number) for number in answer["Attributes"].values())

    def _send(self, url: str, demands: Sequence[Demand]) -> None:
        entries = [
            {"Id": str(n), "MessageBody": json.dumps(demand.body()), "MessageGroupId": demand.group}
            for n, demand in enumerate(demands)
        ]
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            with aws_call("sqs.SendMessageBatch"):
                answer = self._client.send_message_batch(QueueUrl=url, Entries=batch)  # type: ignore[arg-type]
            if answer.get("Failed"):
                raise Transient(call="sqs.SendMessageBatch", failed=len(answer["Failed"]))


def _read(body: str) -> Demand | None:
    try:
        fields = json.loads(body)
        return Demand(
            job=JobKey(instance=fields["instance"], job_id=int(fields["job_id"])),
            project_id=int(fields["project_id"]),
            pool=fields["pool"],
            attempt=int(fields["attempt"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
