"""Finding out what is at an address."""
