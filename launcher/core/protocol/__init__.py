"""Messages between processes: framed, checked and authenticated. Standard library only."""
