"""Several units on one line, each by its address: whose turn it is (`turns`), and the line itself (`line`)."""
