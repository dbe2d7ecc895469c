"""The screen of `psu-agent watch`: its rows and its drawing, which are pure; the terminal, the keys and the offs around them."""
