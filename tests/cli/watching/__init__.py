"""The screen of `psu-agent watch`."""
