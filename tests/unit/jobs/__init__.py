"""Commands on their way to one unit: waiting, going ahead, ending."""
