"""The context that Lambda gives each invocation."""

from typing import Protocol


class LambdaContext(Protocol):
    """The part of Lambda's context object that the functions read."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda ends this invocation."""
