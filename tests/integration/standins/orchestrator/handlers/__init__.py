"""Stand for the five entries."""
