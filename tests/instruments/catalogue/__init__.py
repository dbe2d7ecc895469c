"""The reading of series files."""
