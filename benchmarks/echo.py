"""The least that can answer over MQTT: sends so many bytes to the Response Topic of each message. A process of its own."""

from __future__ import annotations

import argparse

from benchmarks.answering import serve


def main() -> None:
    parser = argparse.ArgumentParser(description="an MQTT echo, for the benchmarks")
    parser.add_argument("port", type=int)
    parser.add_argument("topic")
    parser.add_argument("size", type=int)
    arguments = parser.parse_args()
    answer = b"x" * arguments.size
    serve(arguments.port, arguments.topic, lambda: answer)


if __name__ == "__main__":
    main()
