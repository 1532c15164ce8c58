"""Bytes to records and back, for every port and file."""
