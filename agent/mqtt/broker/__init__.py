"""The abilities of a broker, and the tries to connect to it."""
