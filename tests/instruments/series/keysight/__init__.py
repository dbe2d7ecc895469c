"""Keysight's series by transcripts."""
