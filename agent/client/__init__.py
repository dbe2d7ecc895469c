"""A user's side of MQTT: read the fleet, send a command, save and restore settings."""
