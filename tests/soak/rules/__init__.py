"""The rules of the soak: what is known of every command, output and sample, and what must never be seen."""
