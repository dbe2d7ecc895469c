"""Kikusui series by transcripts."""
