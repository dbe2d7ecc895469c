"""The driver of supplies that are asked and told by lines of text, as their series file says: SCPI and its neighbours."""
