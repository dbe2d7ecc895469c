"""What belongs to the program as a whole: how it begins and ends, its exit codes, its manual page, completion in shells."""
