"""The driver of supplies that speak SCPI, over a text link."""
