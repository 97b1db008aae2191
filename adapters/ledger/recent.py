"""The index of what changed last: job rows and ended runners, newest first.

Its partitions are shards, so that a burst heats none: DynamoDB takes 1,000 write units of one in a
second, and a table is no faster than its indexes. It holds what `status` shows, not the history: a
step that is added to a row costs no write here.
"""

import zlib
from collections.abc import Iterator
from heapq import merge
from itertools import islice

from adapters.ledger.table import Item, Table

INDEX, KEY = "recent", "recent_pk"
SHARDS = 8


def recent_pk(kind: str, name: str) -> str:
    """The partition of the row with this name."""
    return f"{kind}#{zlib.crc32(name.encode()) % SHARDS}"


def newest(table: Table, kind: str, limit: int) -> Iterator[Item]:
    """The rows of a kind that changed last, newest first, with the attributes of the index."""
    shards = [
        table.query_index(INDEX, KEY, f"{kind}#{shard}", newest_first=True, limit=limit)
        for shard in range(SHARDS)
    ]
    return islice(merge(*shards, key=lambda item: str(item["changed_at"]), reverse=True), limit)
