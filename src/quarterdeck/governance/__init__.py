"""Who may do what: the one gate through which every tool call goes."""
