"""Home Assistant's MQTT discovery: its payloads, and when they are sent."""
