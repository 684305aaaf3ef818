print("a tiny project")
