"""A job's log as plain text, without the codes for GitLab's page. Pure.

Source: GitLab docs, "Job logs" (sections, ANSI codes); gitlab-runner, FF_TIMESTAMPS.
"""

import re

# CSI sequences, OSC sequences with their end, and the two-byte escapes.
_CODES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])", re.ASCII
)
_SECTION = re.compile(r"section_(?:start|end):\d+:[^\r\n]*\r?")
# `2026-11-26T08:00:00.123456Z 01O+rest`: time, stream, output or error, `+` goes on.
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z [0-9a-f]{2}[OE]([ +])", re.ASCII)


def plain(log: str) -> str:
    """The log without colours and sections; of each progress line the last state."""
    joined = _without_stamps(log)
    return "\n".join(_line(line) for line in joined.split("\n") if not _is_marker(line))


def _without_stamps(log: str) -> str:
    """Without the times that newer runners write before each line."""
    lines: list[str] = []
    for line in log.split("\n"):
        stamp = _STAMP.match(line)
        text = line[stamp.end() :] if stamp else line
        if stamp and stamp[1] == "+" and lines:
            lines[-1] += text
        else:
            lines.append(text)
    return "\n".join(lines)


def _is_marker(line: str) -> bool:
    """Whether the line only opens or closes a section."""
    return "section_" in line and _SECTION.search(line) is not None and not _line(line)


def _line(line: str) -> str:
    """One line; the last state of a line that a program overwrites."""
    text = _CODES.sub("", _SECTION.sub("", line))
    pieces = [piece for piece in text.split("\r") if piece]
    last = pieces[-1] if pieces else ""
    return "".join(letter for letter in last if letter == "\t" or letter.isprintable())
