"""The embedded AWS and its patches."""
