"""`NAME=VALUE`, as some options take it."""

import typer


def read_pair(text: str, what: str) -> tuple[str, str]:
    """The name and the value. A wrong call without a name or an equals sign."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"write {what} as NAME=VALUE")
    return name, value
