"""What integration tests stand on: real processes, found by their ready lines."""
