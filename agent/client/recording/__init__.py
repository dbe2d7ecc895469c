"""Recording what agents publish: each sample once, in order, into a file or a stream (`psu-agent log`)."""
