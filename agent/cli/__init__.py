"""The command line: parse, call, print.

`main` has the entry point; `serve`, `query`, `control` and `examine` have the commands, whose arguments are declared there. A
command imports what it needs when it runs: the daemon should not keep tables and network discovery in memory.
"""
