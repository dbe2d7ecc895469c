"""The one SQLite file: backlog, commands seen, energy and charge, discovery records."""
