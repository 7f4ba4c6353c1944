"""What durable sessions cost: made, asleep, woken, taken over, written to, and many of them.

Run as `make bench-sessions`, or `python -m bench.sessions --quick` for a smoke run.
"""
