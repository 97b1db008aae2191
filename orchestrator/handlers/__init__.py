"""The five entries: one thin handler for each function of the state machines."""
