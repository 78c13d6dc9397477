"""What a user subclasses: LightningModule and LightningDataModule.

May import strategies.precision and runtime.
"""
