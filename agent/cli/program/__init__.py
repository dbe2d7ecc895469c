"""The program as a whole: how it begins and ends, its exit codes, its errors, its manual page."""
