"""Links to instruments: how they end, and how they are opened again."""
