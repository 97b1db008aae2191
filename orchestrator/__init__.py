"""One thin handler per state-machine task, and the shared autoscaler."""
