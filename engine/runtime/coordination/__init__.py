"""How ranks agree on a moment: barriers, consensus, signals."""
