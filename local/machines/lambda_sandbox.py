"""`python -m local.machines.lambda_sandbox event.json answer.json`: one invocation of a runner.

Stands for Lambda's runtime around a handler: a context, and an error as JSON.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path


class Context:
    """The part of Lambda's context object that our handler reads."""

    def __init__(self, ends_at_s: float) -> None:
        """`ends_at_s`: the end of the invocation, on the epoch clock."""
        self._ends_at_s = ends_at_s

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the end of the invocation."""
        return max(0, int((self._ends_at_s - time.time()) * 1000))


def main(event: Path, answer: Path) -> int:
    """Call the handler and write its answer."""
    from lambda_runner.handler import handler  # noqa: PLC0415 - its import may fail like its call

    context = Context(time.time() + float(os.environ["LOCAL_LAMBDA_TIMEOUT_S"]))
    answer.write_text(json.dumps(handler(json.loads(event.read_text()), context)))
    return 0


def error_shape(error: BaseException) -> dict[str, object]:
    """Lambda's answer when a handler raises."""
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }


if __name__ == "__main__":
    event_file, answer_file = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        code = main(event_file, answer_file)
    except BaseException as raised:
        answer_file.write_text(json.dumps(error_shape(raised)))
        raise
    sys.exit(code)
