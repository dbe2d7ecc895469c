"""What waits for a connection's window: the newest states, and how many messages a slow link is given at a time."""
