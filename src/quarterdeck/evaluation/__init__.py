"""What runs are worth: cases with checks, models compared, and the statistics under both."""
