"""Commands through a whole agent: a simulated supply, a real broker."""
