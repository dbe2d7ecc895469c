"""The measurements behind the README's figures. Each module is a program: ``python -m benchmarks.polling --help``."""
