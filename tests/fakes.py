"""Stand-ins for what the fleet talks to, in memory: table, clock, queues, back ends, GitLab.

They are dull on purpose, and behave like the real thing where a caller could tell the difference.
"""

from adapters.ledger.mailbox_rows import MailboxRows
from adapters.ledger.runners import RunnerRows
from tests.fake_cipher import FakeCipher
from tests.fake_cloud import AT, Clock, FakeBackend, FakeQueue, FakeSecrets, later
from tests.fake_gitlab import FakeApi, FakeGitLab
from tests.fake_table import FakeTable

__all__ = [
    "AT",
    "Clock",
    "FakeApi",
    "FakeBackend",
    "FakeCipher",
    "FakeGitLab",
    "FakeQueue",
    "FakeSecrets",
    "FakeTable",
    "later",
    "runner_rows",
]


def runner_rows(table: FakeTable, instance: str, cipher: FakeCipher | None = None) -> RunnerRows:
    return RunnerRows(table, MailboxRows(table.mail, cipher or FakeCipher()), instance)
