"""Twisted protocols and factories: thin shells that move bytes."""
