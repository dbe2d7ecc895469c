"""The dashboards, drawn from live data with Grafana's own display components. For tests and pictures; no part of the product."""
