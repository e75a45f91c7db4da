"""ToolSpectrum's requests: which app's function suits the person, answered and scored."""
