"""The driver of units that programs of the user control."""
