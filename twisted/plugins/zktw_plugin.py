"""Tells twistd and twist about zkq; all else is loaded when it is asked for."""

from twisted.application.service import ServiceMaker

zkq = ServiceMaker("zkq", "zktw.node.maker", "A ZooKeeper server: elects, leads and follows", "zkq")
