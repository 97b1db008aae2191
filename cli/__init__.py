"""The runner-fleet command."""
