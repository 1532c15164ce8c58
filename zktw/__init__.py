"""zktw: a ZooKeeper server on Twisted."""

__version__ = "0.1.0"
