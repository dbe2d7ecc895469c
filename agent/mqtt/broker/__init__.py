"""What a broker can do, and how a connection to it is tried."""
