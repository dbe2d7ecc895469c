"""One connection to an MQTT broker: what is sent when, what is kept for later, what comes in."""
