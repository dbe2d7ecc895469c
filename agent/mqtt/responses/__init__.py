"""Responses that are kept: until the broker has them, over a kill of this process, and where the broker does not take them."""
