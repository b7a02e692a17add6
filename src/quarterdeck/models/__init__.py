"""Models: the one port through which every model call goes, and what stands around it."""
