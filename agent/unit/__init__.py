"""One unit and its thread: from jobs to writes, and from readings to reports. It knows no dialect, no MQTT and no file."""
