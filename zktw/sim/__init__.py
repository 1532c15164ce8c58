"""A whole ensemble of real servers in one process, under one seed."""
