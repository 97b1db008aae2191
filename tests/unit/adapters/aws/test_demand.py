"""The demand queue: what SQS is asked, ten at a time, and what its messages say."""

import json
from collections.abc import Callable, Iterator
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
    """A queue and what SQS will answer it."""

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


@pytest.fixture
def sqs() -> Iterator[Queue]:
    with scripted("sqs") as (client, script):
        yield Queue(client, script)


class TestSending:
    """Demand goes to the queue, ten a call."""

    def test_each_message_is_in_the_group_of_its_project(self, sqs: Queue) -> None:
        sqs.takes(entry(0, 1), entry(1, 2, project_id=4))
        sqs.queue.send([demand(1), demand(2, project_id=4)])

    def test_many_are_sent_ten_a_call(self, sqs: Queue) -> None:
        for batch in (range(10), range(10, 20), range(20, 21)):
            sqs.takes(*(entry(n, n) for n in batch))
        sqs.queue.send(demand(n) for n in range(21))

    def test_none_is_no_call(self, sqs: Queue) -> None:
        sqs.queue.send([])

    def test_what_sqs_did_not_take_is_for_a_later_try(self, sqs: Queue) -> None:
        sqs.takes(entry(0, 1), entry(1, 2), failed=1)
        with pytest.raises(Transient, match=r"sqs\.SendMessageBatch, failed=1"):
            sqs.queue.send([demand(1), demand(2)])

    def test_what_is_given_up_goes_to_the_dead_letters(self, sqs: Queue) -> None:
        sqs.takes(entry(0, 1), url=DEAD)
        sqs.queue.bury(demand(1))


class TestReceiving:
    """Messages, whoever wrote them."""

    def test_say_what_was_sent_and_how_often_they_came(self, sqs: Queue) -> None:
        body = json.dumps(demand(1).body())
        often = {"Attributes": {"ApproximateReceiveCount": "3"}}
        sqs.holds(
            {"Body": body, "ReceiptHandle": "r1"} | often, {"Body": body, "ReceiptHandle": "r2"}
        )
        assert sqs.queue.receive() == (
            Received(demand=demand(1), receipt="r1", times=3),
            Received(demand=demand(1), receipt="r2", times=1),
        )

    def test_none(self, sqs: Queue) -> None:
        sqs.holds()
        assert sqs.queue.receive() == ()

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "no json",
            "null",
            "[]",
            '"text"',
            "{}",
            json.dumps(demand(1).body() | {"job_id": "seven"}),
            json.dumps(demand(1).body() | {"job_id": None}),
            json.dumps(demand(1).body()).replace('"job_id": 1', '"job_id": 1e999'),
            json.dumps({k: v for k, v in demand(1).body().items() if k != "pool"}),
        ],
    )
    def test_one_that_is_not_ours_can_be_put_away_all_the_same(self, body: str, sqs: Queue) -> None:
        sqs.holds({"Body": body, "ReceiptHandle": "r1"})
        assert sqs.queue.receive() == (Received(demand=None, receipt="r1", times=1),)


class TestPuttingAway:
    """Messages in hand are served, or come again later."""

    def test_served_ones_are_deleted_ten_a_call(self, sqs: Queue) -> None:
        for batch in (range(10), range(10, 12)):
            entries = [{"Id": str(n), "ReceiptHandle": f"r{n}"} for n in batch]
            asked = {"QueueUrl": URL, "Entries": entries}
            sqs.script.add_response("delete_message_batch", {"Successful": [], "Failed": []}, asked)
        sqs.queue.delete([received(n) for n in range(12)])

    def test_each_comes_again_after_twice_as_long_and_never_later_than_a_quarter_of_an_hour(
        self, sqs: Queue
    ) -> None:
        waits = {1: 1, 2: 2, 3: 4, 10: 512, 11: 900, 5000: 900}
        entries = [
            {"Id": str(n), "ReceiptHandle": f"r{n}", "VisibilityTimeout": wait_s}
            for n, wait_s in enumerate(waits.values())
        ]
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        asked = {"QueueUrl": URL, "Entries": entries}
        sqs.script.add_response("change_message_visibility_batch", answer, asked)
        sqs.queue.give_back([received(n, times) for n, times in enumerate(waits)])

    def test_many_are_given_back_ten_a_call(self, sqs: Queue) -> None:
        for batch in (range(10), range(10, 11)):
            entries = [
                {"Id": str(n), "ReceiptHandle": f"r{n}", "VisibilityTimeout": 1} for n in batch
            ]
            answer: dict[str, Any] = {"Successful": [], "Failed": []}
            asked = {"QueueUrl": URL, "Entries": entries}
            sqs.script.add_response("change_message_visibility_batch", answer, asked)
        sqs.queue.give_back([received(n) for n in range(11)])

    def test_none_is_no_call(self, sqs: Queue) -> None:
        sqs.queue.delete([])
        sqs.queue.give_back([])


@pytest.mark.parametrize(
    ("url", "count"), [(URL, lambda q: q.depth()), (DEAD, lambda q: q.dead())], ids=["all", "dead"]
)
def test_messages_in_somebody_s_hands_count_too(
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
        ("ChangeMessageVisibilityBatch", lambda queue: queue.give_back([received(1)])),
        ("GetQueueAttributes", lambda queue: queue.depth()),
    ],
)
def test_a_call_that_failed_is_told_by_name(
    call: str, use: Callable[[DemandQueue], object], sqs: Queue
) -> None:
    for code, kind in (("RequestThrottled", Transient), ("AccessDenied", Refused)):
        sqs.script.add_client_error(xform_name(call), code)
        with pytest.raises(kind, match=rf"call=sqs\.{call}"):
            use(sqs.queue)
