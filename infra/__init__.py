"""The template, the state machines, and the packaging of both."""
