"""What runs inside a machine of any back end."""
