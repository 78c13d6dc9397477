"""Training engine with the API that PyTorch Lightning users know."""
