"""Real servers for tests to talk to."""
