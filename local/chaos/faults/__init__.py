"""The faults of the suite, a file for each part of the world that they strike."""
