"""Several agents on hosts of their own, with real brokers, and links that are cut: who serves a unit, and who does not."""
