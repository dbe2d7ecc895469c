"""What the README's figures come from. Each module is a program: ``python -m benchmarks.polling --help``."""
