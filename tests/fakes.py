"""Stand-ins for what the fleet talks to, in memory: table, clock, queues, back ends, GitLab.

They are dull on purpose, and behave like the real thing where a caller could tell the difference.
"""

from tests.fake_cloud import AT, Clock, FakeBackend, FakeQueue, FakeSecrets
from tests.fake_gitlab import FakeApi, FakeGitLab
from tests.fake_table import FakeTable

__all__ = [
    "AT",
    "Clock",
    "FakeApi",
    "FakeBackend",
    "FakeGitLab",
    "FakeQueue",
    "FakeSecrets",
    "FakeTable",
]
