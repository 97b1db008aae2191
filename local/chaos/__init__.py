"""The chaos suite: seeded faults on the whole service, and a judge who counts what they cost."""
