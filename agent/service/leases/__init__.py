"""Leases: who may set a unit or a channel until when; asked for by clients, kept for a restart, and told to everybody."""
