"""The Trainer's arguments as Lightning 1.x spelled them."""
