"""Where traces are kept: one SQLite file, bounded by size and age."""
