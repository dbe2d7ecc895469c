"""Sentences on faults of the configuration file that say what to write instead."""
