"""What runs a crew: one agent's turns, the task graph, the run from start to end."""
