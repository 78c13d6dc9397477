"""Where `import pytorch_lightning` finds the engine."""
