"""Variables that a job hands to later ones in a dotenv report. Pure.

Source: GitLab docs, "artifacts:reports:dotenv"; GitLab, `Ci::ParseDotenvArtifactService`.
"""

import gzip
import io
import re
import zlib

_MOST_BYTES = 5 * 1024
_LONGEST_KEY = 255
_MOST_VARIABLES = 20  # in one report; GitLab.com: 50 and more
_KEY = re.compile(r"[a-zA-Z0-9_]+")


class DotenvError(ValueError):
    """The report is refused; the message is GitLab's."""


def read_dotenv(packed: bytes) -> dict[str, str]:
    """The variables of an uploaded report, still gzipped. Raises `DotenvError`.

    GitLab's own check measures the packed file; this one measures the text, as documented.
    """
    variables: dict[str, str] = {}
    text = _unpacked(packed)
    for line in text.removesuffix("\n").split("\n") if text else ():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise DotenvError("Invalid Format")
        if not _KEY.fullmatch(key) or len(key) > _LONGEST_KEY:
            raise DotenvError("Validation failed: Key can contain only letters, digits and '_'.")
        variables[key] = value
    if len(variables) > _MOST_VARIABLES:
        raise DotenvError(f"Dotenv files cannot have more than {_MOST_VARIABLES} variables")
    return variables


def _unpacked(packed: bytes) -> str:
    try:
        with gzip.open(io.BytesIO(packed)) as members:  # one for each file of the report
            content = members.read(_MOST_BYTES)
    except (OSError, EOFError, zlib.error) as exc:
        raise DotenvError("Invalid Format") from exc
    if len(content) >= _MOST_BYTES:
        raise DotenvError(f"Dotenv Artifact Too Big. Maximum Allowable Size: {_MOST_BYTES}")
    return content.decode("utf-8-sig", "replace")
