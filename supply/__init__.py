"""What Linkspan is made of: whether any of it has a known weakness, and a list of all of it."""
