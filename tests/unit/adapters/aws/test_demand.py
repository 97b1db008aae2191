"""The demand queue: what SQS is asked, ten at a time, and what its messages say."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.stub import Stubber

from adapters.aws.demand import Demand, DemandQueue, Received
from fleet.errors import Refused, Transient
from fleet.model import JobKey
from tests.unit.adapters.stubs import scripted

URL, DEAD = "https://sqs.example.com/1/ec2", "https://sqs.example.com/1/ec2-dead"


def demand(job_id: int, project_id: int = 3) -> Demand:
    key = JobKey(instance="gitlab.example.com", job_id=job_id)
    return Demand(job=key, project_id=project_id, pool="docker", attempt=2)


def entry(n: int, job_id: int, project_id: int = 3) -> dict[str, Any]:
    """A message as SQS gets it."""
    body = {
        "instance": "gitlab.example.com",
        "job_id": job_id,
        "project_id": project_id,
        "pool": "docker",
        "attempt": 2,
    }
    group = f"gitlab.example.com:{project_id}"
    return {"Id": str(n), "MessageBody": json.dumps(body), "MessageGroupId": group}


def received(n: int, times: int = 1) -> Received:
    return Received(demand=None, receipt=f"r{n}", times=times)


class Queue:
    def __init__(self, client: Any, script: Stubber) -> None:
        self.script = script
        self.queue = DemandQueue(client, URL, DEAD)

    def takes(self, *entries: dict[str, Any], url: str = URL, failed: int = 0) -> None:
        """The next batch is sent; so many of it are not taken."""
        failures = [
            {"Id": str(n), "SenderFault": False, "Code": "InternalError"} for n in range(failed)
        ]
        self.script.add_response(
            "send_message_batch",
            {"Successful": [], "Failed": failures},
            {"QueueUrl": url, "Entries": list(entries)},
        )

    def holds(self, *messages: dict[str, Any]) -> None:
        """What the next receiving brings."""
        self.script.add_response(
            "receive_message",
            {"Messages": list(messages)} if messages else {},
            {
                "QueueUrl": URL,
                "MaxNumberOfMessages": 10,
                "WaitTimeSeconds": 0,
                "MessageSystemAttributeNames": ["ApproximateReceiveCount"],
            },
        )

    def changes(self, call: str, *batches: Iterable[dict[str, Any]]) -> None:
        """The next calls are for these messages."""
        for batch in batches:
            request = {"QueueUrl": URL, "Entries": list(batch)}
            self.script.add_response(call, {"Successful": [], "Failed": []}, request)


@pytest.fixture
def sqs() -> Iterator[Queue]:
    with scripted("sqs") as (client, script):
        yield Queue(client, script)


def test_each_message_is_in_the_group_of_its_project(sqs: Queue) -> None:
    sqs.takes(entry(0, 1), entry(1, 2, project_id=4))
    sqs.queue.send([demand(1), demand(2, project_id=4)])


def test_all_calls_are_for_ten_messages_at_most_and_none_is_no_call(sqs: Queue) -> None:
    batches = (range(10), range(10, 20), range(20, 21))
    for batch in batches:
        sqs.takes(*(entry(n, n) for n in batch))
    sqs.queue.send(demand(n) for n in range(21))
    named = [[{"Id": str(n), "ReceiptHandle": f"r{n}"} for n in batch] for batch in batches]
    sqs.changes("delete_message_batch", *named)
    sqs.queue.delete([received(n) for n in range(21)])
    hidden = [[message | {"VisibilityTimeout": 1} for message in batch] for batch in named]
    sqs.changes("change_message_visibility_batch", *hidden)
    sqs.queue.postpone([received(n) for n in range(21)])
    sqs.queue.send([])
    sqs.queue.delete([])
    sqs.queue.postpone([])


def test_what_sqs_did_not_take_is_for_a_later_try(sqs: Queue) -> None:
    sqs.takes(entry(0, 1), entry(1, 2), failed=1)
    with pytest.raises(Transient, match=r"sqs\.SendMessageBatch, failed=1"):
        sqs.queue.send([demand(1), demand(2)])


def test_what_is_given_up_goes_to_the_dead_letters(sqs: Queue) -> None:
    sqs.takes(entry(0, 1), url=DEAD)
    sqs.queue.bury(demand(1))


def test_messages_say_what_was_sent_and_how_often_they_were_received(sqs: Queue) -> None:
    body = json.dumps(demand(1).body())
    often = {"Attributes": {"ApproximateReceiveCount": "3"}}
    sqs.holds({"Body": body, "ReceiptHandle": "r1"} | often, {"Body": body, "ReceiptHandle": "r2"})
    assert sqs.queue.receive() == (
        Received(demand=demand(1), receipt="r1", times=3),
        Received(demand=demand(1), receipt="r2", times=1),
    )
    sqs.holds()
    assert sqs.queue.receive() == ()


@pytest.mark.parametrize(
    "body",
    [
        *("", "no json", "null", "[]", '"text"', "{}"),
        json.dumps(demand(1).body() | {"job_id": "seven"}),
        json.dumps(demand(1).body() | {"job_id": None}),
        json.dumps(demand(1).body()).replace('"job_id": 1', '"job_id": 1e999'),
        json.dumps({k: v for k, v in demand(1).body().items() if k != "pool"}),
    ],
)
def test_a_message_that_is_not_ours_can_still_be_deleted(body: str, sqs: Queue) -> None:
    sqs.holds({"Body": body, "ReceiptHandle": "r1"})
    assert sqs.queue.receive() == (Received(demand=None, receipt="r1", times=1),)


def test_each_comes_again_after_twice_as_long_and_never_later_than_a_quarter_of_an_hour(
    sqs: Queue,
) -> None:
    waits = {1: 1, 2: 2, 3: 4, 10: 512, 11: 900, 5000: 900}
    hidden = [
        {"Id": str(n), "ReceiptHandle": f"r{n}", "VisibilityTimeout": wait_s}
        for n, wait_s in enumerate(waits.values())
    ]
    sqs.changes("change_message_visibility_batch", hidden)
    sqs.queue.postpone([received(n, times) for n, times in enumerate(waits)])


@pytest.mark.parametrize(
    ("url", "count"), [(URL, lambda q: q.depth()), (DEAD, lambda q: q.dead())], ids=["all", "dead"]
)
def test_hidden_messages_count_too(
    url: str, count: Callable[[DemandQueue], int], sqs: Queue
) -> None:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs.script.add_response(
        "get_queue_attributes",
        {"Attributes": dict(zip(names, ("3", "4"), strict=True))},
        {"QueueUrl": url, "AttributeNames": names},
    )
    assert count(sqs.queue) == 7


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("SendMessageBatch", lambda queue: queue.send([demand(1)])),
        ("ReceiveMessage", lambda queue: queue.receive()),
        ("DeleteMessageBatch", lambda queue: queue.delete([received(1)])),
        ("ChangeMessageVisibilityBatch", lambda queue: queue.postpone([received(1)])),
        ("GetQueueAttributes", lambda queue: queue.depth()),
    ],
)
def test_the_error_of_a_call_names_it(
    call: str, use: Callable[[DemandQueue], object], sqs: Queue
) -> None:
    for code, kind in (("RequestThrottled", Transient), ("AccessDenied", Refused)):
        sqs.script.add_client_error(xform_name(call), code)
        with pytest.raises(kind, match=rf"call=sqs\.{call}"):
            use(sqs.queue)
