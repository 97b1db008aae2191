"""The back ends: where machines come from and how they end."""
