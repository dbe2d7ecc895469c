"""GW Instek's series by transcripts."""
