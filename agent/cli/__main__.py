"""`python -m agent.cli`: the command line."""

import sys

from agent.cli.start import main

sys.exit(main())
