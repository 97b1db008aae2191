"""The fleet's configuration: `fleet.toml` read, checked and typed."""
