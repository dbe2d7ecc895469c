"""Access to hardware: the driver interface, the drivers, the catalogue of models, and the search for instruments."""
