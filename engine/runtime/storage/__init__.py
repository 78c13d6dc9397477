"""Files: written whole, and read without running what is in them."""
