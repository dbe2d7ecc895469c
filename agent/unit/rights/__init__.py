"""Who may set a unit, beside its ratings and limits: asked before each setting, never for an off."""
