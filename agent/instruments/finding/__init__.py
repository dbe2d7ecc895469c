"""Where instruments may be: network interfaces, mDNS, VXI-11 by broadcast, USB, GPIB and serial ports of this host."""
