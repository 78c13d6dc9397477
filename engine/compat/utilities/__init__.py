"""Small functions of Lightning's `utilities`."""
