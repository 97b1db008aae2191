"""What an operator can do, as functions that return values."""
