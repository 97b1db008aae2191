"""Log lines as gitlab-runner writes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from local.stand_in.log import Log, level_of


def written(log: Log) -> bytes:
    """What two calls write to the log's file."""
    reading, writing = os.pipe()
    there = Log(shape=log.shape, level=log.level, fields=log.fields, to_fd=writing)
    there.info("Job succeeded", {"job": 5})
    there.debug("unseen")
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        return file.read()


def test_json_lines_have_level_message_time_and_fields() -> None:
    (line,) = written(Log(shape="json").having({"runner": "abc"})).splitlines()
    read = json.loads(line)
    assert read.pop("time").endswith("Z")
    assert read == {"level": "info", "msg": "Job succeeded", "job": 5, "runner": "abc"}


def test_text_lines_have_key_and_value() -> None:
    line = written(Log(shape="text")).decode()
    assert 'level="info" msg="Job succeeded"' in line
    assert line.endswith(" job=5\n")


def test_runner_lines_have_the_message_in_front() -> None:
    assert written(Log()).decode().startswith("Job succeeded  ")


@pytest.mark.parametrize(("level", "lines"), [("debug", 2), ("info", 1), ("warning", 0)])
def test_lines_below_the_level_are_left_out(level: str, lines: int) -> None:
    assert len(written(Log(shape="json", level=level)).splitlines()) == lines


@pytest.mark.parametrize(
    ("word", "level"), [("warn", "warning"), ("error", "error"), ("panic", "fatal"), ("?", "info")]
)
def test_words_for_levels(word: str, level: str) -> None:
    assert level_of(word) == level


def test_fatal_ends_the_process_with_code_one() -> None:
    code = "from local.stand_in.log import Log\nLog(shape='json').fatal('no')\nprint('never')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert json.loads(done.stderr)["level"] == "fatal"


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Log(to_fd=writing).info("unheard")
    os.close(writing)


def test_a_runner_line_is_message_fields_and_one_line_each() -> None:
    log = Log().having({"runner": "abc", "job": 5})
    reading, writing = os.pipe()
    there = Log(fields=log.fields, to_fd=writing)
    there.info("one")
    there.warning("two", {"a": 1})
    os.close(writing)
    with os.fdopen(reading) as file:
        first, second = file.read().splitlines()
    assert first == f"{'one':<50} job=5 runner=abc"
    assert second == f"WARNING: {'two':<50} a=1 job=5 runner=abc"


@pytest.mark.parametrize("shape", ["json", "text", "runner"])
def test_every_shape_ends_its_lines(shape: str) -> None:
    assert written(Log(shape=shape)).endswith(b"\n")


def test_json_keys_are_sorted_so_that_lines_compare() -> None:
    line = written(Log(shape="json").having({"zone": "a", "about": "b"})).decode()
    assert list(json.loads(line)) == sorted(json.loads(line))
