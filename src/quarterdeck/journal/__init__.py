"""The truth about every run: typed events, committed before the run goes on."""
