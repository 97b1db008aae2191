"""Processes that stand for EC2 instances and Lambda environments."""
