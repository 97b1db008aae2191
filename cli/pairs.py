"""`NAME=VALUE`, as some options take it."""

from fleet.errors import Refused


def read_pair(text: str, what: str) -> tuple[str, str]:
    """The name and the value. `Refused` without a name or an equals sign."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Refused(f"write {what} as NAME=VALUE", given=text)
    return name, value
