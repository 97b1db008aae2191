"""Attacks: each was possible once, or is a variant of one that was."""
