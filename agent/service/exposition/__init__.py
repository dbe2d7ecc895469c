"""The figures of the agent and its channels for Prometheus, by HTTP: `psu-agent run --metrics`."""
