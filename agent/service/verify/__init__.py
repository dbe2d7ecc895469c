"""`psu-agent verify`: what a series file claims, tried on a supply with nothing connected to it.

`bench` writes to the supply and looks at it, `checks` has the claims, `restoring` the end, `report` what is written about it all.
"""
