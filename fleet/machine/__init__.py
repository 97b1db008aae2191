"""What a machine and the fleet say to each other."""
