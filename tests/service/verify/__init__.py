"""What a series file claims, tried on supplies that keep their promises and on some that do not."""
