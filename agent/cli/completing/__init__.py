"""Completion in bash, zsh and fish: of commands and options, and of units, channels, agents and models that are there now."""
