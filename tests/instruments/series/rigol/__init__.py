"""Rigol's series by transcripts."""
