"""Tests of what is given to a user: wheel, source distribution, Debian package, image, add-on."""
