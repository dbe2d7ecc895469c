"""Siglent's series by transcripts."""
