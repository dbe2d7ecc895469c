"""The messages that wait for a connection's window, and the number that a slow link is given at a time."""
