"""The driver of supplies that speak Modbus, with its links: serial lines and TCP, each for one unit or for several by address."""
