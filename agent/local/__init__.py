"""Processes of our own on this host, for the demonstration and the tests: child processes, free ports, a broker."""
