"""`linkspan sessions`: what operators see of sessions, and how they end them."""
