"""Which rank this process is, how ranks are started and speak to each other."""
