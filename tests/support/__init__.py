"""Parts that the tests, the soak and the benchmarks are built from: processes, relays, waiting, MQTT, an agent on a bench.

`tests.lab` has the names that most tests use.
"""
