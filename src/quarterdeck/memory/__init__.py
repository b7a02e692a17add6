"""What agents remember. First of the four tiers: the window, what stands in a model's context."""
