"""Rohde & Schwarz' series by transcripts."""
