"""What outlives a lost broker and a restart: one SQLite file, and one thread that uses it."""
