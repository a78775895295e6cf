"""The demonstration: four venues in four processes, real data, one story, told through the public commands alone."""
