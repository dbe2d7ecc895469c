"""Several units on one line, each by its address: its `selection`, whose turn it is (`turns`), and the `line` itself."""
