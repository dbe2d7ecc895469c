"""B&K Precision series by transcripts."""
