"""What a tunnel saves: calls through it and without it, to the same server."""
