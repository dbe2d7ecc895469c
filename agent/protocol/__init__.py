"""All that crosses MQTT, typed: the table of quantities, names, topics, messages, commands, reports. Imports nothing of agent."""
