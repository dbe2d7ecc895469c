"""Keithley's series by transcripts."""
