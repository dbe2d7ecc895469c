"""Permissions to set a unit, beside its ratings and limits: asked for before each setting, never for an off."""
