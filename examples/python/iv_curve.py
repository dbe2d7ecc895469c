#!/usr/bin/env python3
"""Measure what a device draws at each voltage, as CSV: python iv_curve.py psu1/2 0 5 0.5 0.8

That is from 0 V to 5 V in steps of 0.5 V, with at most 0.8 A, and never above 5 V. The output is off at the end, whatever happens
meanwhile: if this program is killed, the broker sees to that. The broker is that of $PSU_AGENT_BROKER, or the configuration's.
"""

import math
import sys

from agent.client import ClientError, connect


def sweep(channel, start, stop, step, amperes):
    """The channel's state at each voltage, measured anew when it has got there."""
    channel.set(voltage_limit=start, current_limit=amperes, state=True)
    for number in range(math.floor((stop - start) / step + 1e-6) + 1):
        volts = min(round(start + number * step, 6), stop)
        channel.set(voltage_limit=volts)
        yield volts, channel.state()


def main():
    try:
        target, *numbers = sys.argv[1:]
        start, stop, step, amperes = map(float, numbers)
        if not (start <= stop and step > 0 and all(map(math.isfinite, (start, stop, step, amperes)))):
            raise ValueError
    except ValueError:
        print("usage: iv_curve.py UNIT/CH START STOP STEP AMPERES, with START <= STOP and STEP > 0", file=sys.stderr)
        return 2
    try:
        with connect(off_if_lost=target) as supplies:
            channel = supplies.channel(target)
            try:
                print("set_V,voltage_V,current_A,mode")
                for volts, state in sweep(channel, start, stop, step, amperes):
                    print(f"{volts:g},{state.voltage:.4f},{state.current:.5f},{state.mode}", flush=True)
            finally:
                channel.off()
    except (ClientError, ValueError) as error:
        print(f"iv_curve.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
