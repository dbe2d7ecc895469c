"""All that crosses MQTT, typed: messages, commands, topics, and the one table of quantities."""
