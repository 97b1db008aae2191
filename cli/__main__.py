"""`python -m cli` is the `runner-fleet` command."""

from cli.main import app

app()
