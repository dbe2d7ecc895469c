"""Every shipped series by transcripts, one module for each series file, and tests over all files."""
