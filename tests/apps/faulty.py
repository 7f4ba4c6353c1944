"""A file that cannot be imported."""

raise ValueError("out of order\nin two lines")
