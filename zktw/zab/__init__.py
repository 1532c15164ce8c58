"""Atomic broadcast: discovery, synchronisation and broadcast as pure cores."""
