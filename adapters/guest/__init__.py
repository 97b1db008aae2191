"""What runs inside a machine, whatever its back end."""
