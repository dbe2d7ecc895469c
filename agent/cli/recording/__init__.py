"""`psu-agent log`: the command, and what it prints."""
