"""The language of series files, and the driver that speaks it."""
