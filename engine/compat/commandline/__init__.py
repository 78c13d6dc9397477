"""Arguments from a command line: argparse and LightningCLI."""
