"""Home Assistant by MQTT discovery: an outlet for the reports of units, beside the MQTT session."""
