"""Attacks on the deployed template, on the embedded engine."""
