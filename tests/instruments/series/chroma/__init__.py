"""Chroma series by transcripts."""
