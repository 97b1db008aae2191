"""What `status` calls a problem, and the rules that find them."""
