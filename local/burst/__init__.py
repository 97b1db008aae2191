"""Many jobs at once on the whole service, and what they cost in calls."""
