"""The EC2 back end: the in-guest agent and its boot script."""
