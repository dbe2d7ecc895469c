"""A broker is measured: what it can do of all that the agent uses, and a sentence for each thing that is missing."""
