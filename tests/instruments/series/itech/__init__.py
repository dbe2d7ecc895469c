"""ITECH series by transcripts."""
