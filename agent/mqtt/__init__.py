"""One connection to a broker: its thread, what is sent and in which order, and what waits while the broker is away."""
