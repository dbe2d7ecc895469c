"""The values that a channel may be set to: by its output, by the configuration, and by what the unit says of itself."""
