"""The pages for users: their links lead somewhere, and what they show is so."""
