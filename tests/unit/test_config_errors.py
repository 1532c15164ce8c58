"""Wrong configurations and what is said of each. docs/configuration-errors.md shows the same table.

`PYTHONPATH=. python tests/unit/test_config_errors.py` writes the page anew.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from zktw.config import load_config
from zktw.terms.errors import ConfigError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration-errors.md"
CASES_MIN = 45
INT_MAX = 2**31 - 1
INT_MIN = -(2**31)
LONG_MAX = 2**63 - 1
DENIED = "cannot be read: Permission denied"
SYNTAX = "host:quorumPort:electionPort[:role]"

STANDALONE = "dataDir=/data\nclientPort=2181\n"
DYNAMIC = f"{STANDALONE}tickTime=2000\ninitLimit=10\nsyncLimit=5\n"
ENSEMBLE = f"{DYNAMIC}server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n"

FileContents = Mapping[str, str | Exception]
MYID: FileContents = {"/data/myid": "1\n"}
NOTHING: Mapping[str, str] = {}


class Case(NamedTuple):
    """One mistake: `lines` (or else `written`) behind a good base, less the base's lines that begin with `without`."""

    what: str
    written: str
    message: str
    base: str | None = STANDALONE
    lines: str | None = None
    files: FileContents = MYID
    environ: Mapping[str, str] = NOTHING
    without: str = ""

    def load(self) -> None:
        """Read the configuration, from no disk at all."""
        files = dict(self.files)
        if self.base is not None:
            kept = [line for line in self.base.splitlines() if not (self.without and line.startswith(self.without))]
            files["zoo.cfg"] = "\n".join([*kept, self.written if self.lines is None else self.lines, ""])

        def read(path: str) -> str:
            found = files.get(path, FileNotFoundError(2, "No such file or directory"))
            if isinstance(found, Exception):
                raise found
            return found

        load_config("zoo.cfg", read, self.environ)


def _file(what: str, shown: str, error: OSError) -> Case:
    """A file that cannot be read."""
    return Case(what, shown, f"zoo.cfg: cannot be read: {error.strerror}", base=None, files={"zoo.cfg": error})


def _alone(what: str, line: str, reason: str) -> Case:
    """A mistake in one line of a standalone server's file."""
    return Case(what, line, f"zoo.cfg: {line}: {reason}")


def _member(what: str, line: str, reason: str) -> Case:
    """A mistake in one line of an ensemble's file."""
    return Case(what, line, f"zoo.cfg: {line}: {reason}", base=ENSEMBLE)


def _myid(what: str, shown: str, contents: str | Exception, reason: str) -> Case:
    """A mistake of the file myid."""
    message = f"/data/myid: {reason}"
    return Case(what, f"myid: {shown}", message, base=ENSEMBLE, lines="", files={"/data/myid": contents})


def _dynamic(what: str, text: str, reason: str) -> Case:
    """A mistake in the last line of a dynamic file."""
    message = f"/zoo.dyn: {text.splitlines()[-1]}: {reason}"
    files = {**MYID, "/zoo.dyn": text}
    return Case(what, f"/zoo.dyn: {text}", message, base=DYNAMIC, lines="dynamicConfigFile=/zoo.dyn", files=files)


CASES = [
    _file("the file does not exist", "no zoo.cfg", FileNotFoundError(2, "No such file or directory")),
    _file("the file may not be read", "of another user", PermissionError(13, "Permission denied")),
    _file("the file is a directory", "zoo.cfg/", IsADirectoryError(21, "Is a directory")),
    Case(
        "the file is no text",
        "bytes that are no UTF-8",
        "zoo.cfg: is no properties file: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        base=None,
        files={"zoo.cfg": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")},
    ),
    Case(
        "a malformed escape",
        "dataLogDir=\\u00zz",
        "zoo.cfg: is no properties file: malformed \\u escape in '\\\\u00zz'",
    ),
    Case(
        "a control character in a value",
        "dataLogDir=/log\\u0000",
        "zoo.cfg: dataLogDir: has a control character: '/log\\x00'",
    ),
    Case("dataDir is missing", "no dataDir", "zoo.cfg: dataDir: dataDir is not set", lines="", without="dataDir"),
    _alone("dataDir is empty", "dataDir=", "dataDir is not set"),
    _alone("no number", "tickTime=2s", "not a number"),
    _alone("a tick of nothing", "tickTime=0", f"out of range (1 to {INT_MAX})"),
    _alone("a negative number", "tickTime=-2000", f"out of range (1 to {INT_MAX})"),
    _alone("a number beyond 32 bits", "tickTime=2147483648", f"out of range (1 to {INT_MAX})"),
    _alone("digits of other scripts", "tickTime=٢٠", "not a number"),
    _alone("no port", "clientPort=zookeeper", "not a number"),
    _alone("a port out of range", "clientPort=65536", "out of range (0 to 65535)"),
    _alone("a negative port", "clientPort=-1", "out of range (0 to 65535)"),
    _alone("no number", "maxClientCnxns=many", "not a number"),
    _alone("no whole number", "autopurge.purgeInterval=1.5", "not a number"),
    _alone("no number", "jute.maxbuffer=1M", "not a number"),
    _alone("a bound of nothing", "jute.maxbuffer=0", f"out of range (1 to {INT_MAX})"),
    Case("no number in a property", "zookeeper.cnxTimeout=soon", "zoo.cfg: cnxTimeout=soon: not a number"),
    _alone("no number for an idle key", "jvm.pause.sleep.time.ms=long", "not a number"),
    Case(
        "minSessionTimeout above maxSessionTimeout",
        "minSessionTimeout=9000\nmaxSessionTimeout=8000",
        "zoo.cfg: minSessionTimeout=9000: greater than maxSessionTimeout (8000): 9000",
    ),
    _alone(
        "minSessionTimeout above the default of maxSessionTimeout",
        "minSessionTimeout=70000",
        "greater than maxSessionTimeout (60000): 70000",
    ),
    _alone(
        "a socket of systemd that is none for clients",
        "clientPortAddress=systemd:domain=UNIX:index=0",
        "neither systemd:domain=INET6:name=NAME nor systemd:domain=INET6:index=N (INET where the socket is IPv4)",
    ),
    Case(
        "an address without its port",
        "clientPortAddress=10.0.0.1",
        "zoo.cfg: clientPortAddress=10.0.0.1: clientPortAddress is set but clientPort is not",
        without="clientPort",
    ),
    _alone("neither true nor false", "standaloneEnabled=yes", "neither true nor false"),
    _alone("neither true nor false", "reconfigEnabled=1", "neither true nor false"),
    _alone("neither true nor false", "readonlymode.enabled=on", "neither true nor false"),
    _alone("neither true nor false for an idle key", "localSessionsEnabled=no", "neither true nor false"),
    _alone("an election that is no more", "electionAlg=0", "Invalid electionAlg value. Only 3 is supported."),
    _alone("an election that is no more", "electionAlg=2", "Invalid electionAlg value. Only 3 is supported."),
    _alone("an unknown role of this server", "peerType=witness", "unknown role; participant or observer"),
    _alone(
        "TLS for clients",
        "secureClientPort=2281",
        "this release has no TLS; leave it out, or clients would be without it",
    ),
    _alone("TLS for clients", "secureClientPortAddress=10.0.0.1", "this release has no TLS"),
    _alone("TLS for clients", "client.portUnification=true", "this release has no TLS"),
    _alone("TLS between servers", "sslQuorum=true", "this release has no TLS between servers"),
    _alone("TLS between servers", "portUnification=true", "this release has no TLS between servers"),
    _alone("SASL between servers", "quorum.auth.enableSasl=true", "this release has no SASL between servers"),
    _alone("SASL between servers", "quorum.auth.serverRequireSasl=true", "this release has no SASL between servers"),
    _alone("SASL for clients", "sessionRequireClientSASLAuth=true", "this release has no SASL"),
    _alone(
        "authentication without a scheme",
        "enforce.auth.enabled=true",
        "enforce.auth.schemes names no scheme, so that no client could do anything",
    ),
    Case(
        "authentication by an unknown scheme",
        "enforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl",
        "zoo.cfg: enforce.auth.schemes=digest,sasl: unknown scheme 'sasl'; this server has digest and ip",
    ),
    Case(
        "authentication by a scheme that is off",
        "DigestAuthenticationProvider.enabled=false\nenforce.auth.enabled=true\nenforce.auth.schemes=digest",
        "zoo.cfg: enforce.auth.schemes=digest: unknown scheme 'digest'; this server has ip",
    ),
    _alone(
        "an unknown hash",
        "DigestAuthenticationProvider.digestAlg=CRC32",
        "unknown digest; SHA1, SHA-256, SHA-512, SHA3-256, MD5 or the like",
    ),
    _alone(
        "an unknown compression",
        "snapshot.compression.method=zstd",
        "unknown method; gz or snappy, or nothing for none",
    ),
    Case(
        "digests without the nodes of closed sessions",
        "digest.enabled=true\ncloseSessionTxn.enabled=false",
        "zoo.cfg: closeSessionTxn.enabled=false: digest.enabled=true needs it; say digest.enabled=false as well",
    ),
    _alone("large requests from no size on", "largeRequestThreshold=0", "neither -1 for none nor a number of bytes"),
    _alone("no bytes for large requests", "largeRequestMaxBytes=0", f"out of range (1 to {INT_MAX})"),
    _alone("no requests under way", "globalOutstandingLimit=0", f"out of range (1 to {INT_MAX})"),
    _alone("a share above 1", "connection_throttle_drop_increase=2", "out of range (0 to 1)"),
    _alone("a share that is no number", "connection_throttle_decrease_ratio=NaN", "not a number"),
    _alone("a bucket that is filled all the time", "connection_throttle_fill_time=0", f"out of range (1 to {INT_MAX})"),
    _alone("a negative preallocation", "preAllocSize=-1", f"out of range (0 to {INT_MAX})"),
    _alone(
        "a limit of size beyond bytes", "snapSizeLimitInKb=9007199254740993", f"out of range ({INT_MIN} to {2**53})"
    ),
    _alone("containers looked for all the time", "znode.container.checkIntervalMs=0", f"out of range (1 to {INT_MAX})"),
    _alone("a suffix behind a number", "snapCount=10k", "not a number"),
    _alone(
        "a quorum oracle",
        "oraclePath=/run/oracle",
        "this release has no quorum oracle; without it two servers would decide otherwise",
    ),
    Case(
        "quotes that do not match, in the environment",
        "JVMFLAGS=-Djute.maxbuffer='1",
        "environment: JVMFLAGS: cannot be parted into words: No closing quotation",
        lines="",
        environ={"JVMFLAGS": "-Djute.maxbuffer='1"},
    ),
    Case(
        "a wrong property in the environment",
        "SERVER_JVMFLAGS=-Djute.maxbuffer=big",
        "environment: jute.maxbuffer=big: not a number",
        lines="",
        environ={"SERVER_JVMFLAGS": "-Djute.maxbuffer=big"},
    ),
    Case(
        "initLimit is missing",
        "no initLimit",
        "zoo.cfg: initLimit: initLimit is not set",
        base=ENSEMBLE,
        lines="",
        without="initLimit",
    ),
    Case(
        "syncLimit is missing",
        "no syncLimit",
        "zoo.cfg: syncLimit: syncLimit is not set",
        base=ENSEMBLE,
        lines="",
        without="syncLimit",
    ),
    _member("a limit of nothing", "initLimit=0", "must be at least 1"),
    _member("a server twice", "server.3=d:2888:3888", "configured twice"),
    _member("a server twice, otherwise written", "server.03=d:2888:3888", "server 3 is configured twice"),
    _member("a server id that is no number", "server.x=d:2888:3888", f"'x' is no server id (0 to {LONG_MAX})"),
    _member("a server id below zero", "server.-4=d:2888:3888", f"'-4' is no server id (0 to {LONG_MAX})"),
    _member(
        "a server id beyond 64 bits",
        "server.9223372036854775808=d:2888:3888",
        f"'9223372036854775808' is no server id (0 to {LONG_MAX})",
    ),
    _member("no host", "server.4=:2888:3888", f"the host is missing: {SYNTAX}"),
    _member("a blank in the host", "server.4=d e:2888:3888", "'d e' is no host"),
    _member("no election port", "server.4=d:2888", f"the quorum or the election port is missing: {SYNTAX}"),
    _member("no port", "server.4=d:2888:peer", "'peer' is no port (1 to 65535)"),
    _member("port 0", "server.4=d:0:3888", "'0' is no port (1 to 65535)"),
    _member("a port out of range", "server.4=d:2888:70000", "'70000' is no port (1 to 65535)"),
    _member("equal quorum and election port", "server.4=d:2888:2888", "quorum and election port are both 2888"),
    _member("an unknown role", "server.4=d:2888:3888:learner", "unknown role 'learner'; participant or observer"),
    _member(
        "too many fields",
        "server.4=d:2888:3888:observer:2181",
        f"too many fields: {SYNTAX} (an IPv6 host stands in brackets)",
    ),
    _member(
        "an IPv6 address without brackets",
        "server.4=fe80::1:2888:3888",
        f"too many fields: {SYNTAX} (an IPv6 host stands in brackets)",
    ),
    _member(
        "an open bracket", "server.4=[fe80::1:2888:3888", "'[fe80::1:2888:3888' has no IPv6 address between brackets"
    ),
    _member(
        "no colon behind the bracket",
        "server.4=[fe80::1]2888:3888",
        "'[fe80::1]2888:3888' has no ':' behind its bracket",
    ),
    _member("a client port that is none", "server.4=d:2888:3888;client", "'client' is no port (1 to 65535)"),
    _member(
        "a secure client port",
        "server.4=d:2888:3888;2181;2281",
        f"more than one ';': {SYNTAX}[|...][;[host:]clientPort]",
    ),
    _member(
        "several addresses, not enabled",
        "server.4=d:2888:3888|e:2888:3888",
        "several addresses need multiAddress.enabled=true",
    ),
    Case(
        "several addresses of different roles",
        "multiAddress.enabled=true\nserver.4=d:2888:3888:observer|e:2888:3888:participant",
        "zoo.cfg: server.4=d:2888:3888:observer|e:2888:3888:participant: its addresses have different roles",
        base=ENSEMBLE,
    ),
    _member(
        "an address of two servers",
        "server.4=c:2888:3889",
        "port clash: c:2888 is the quorum address of server.3 already",
    ),
    _member(
        "an election port that is a quorum port",
        "server.4=c:2889:2888",
        "port clash: c:2888 is the quorum address of server.3 already",
    ),
    _member("the quorum port as client port", "clientPort=2888", "port clash: it is the quorum port of server.1 too"),
    _member(
        "the election port as client port", "clientPort=3888", "port clash: it is the election port of server.1 too"
    ),
    Case(
        "two client ports for this server",
        "server.1=a:2888:3888;2182",
        "zoo.cfg: clientPort=2181: server.1 says that the client port is 0.0.0.0:2182",
        base=ENSEMBLE,
        without="server.1",
    ),
    Case(
        "a server in two groups",
        "group.1=1:2\ngroup.2=2:3",
        "zoo.cfg: group.2=2:3: server 2 is in group 1 already",
        base=ENSEMBLE,
    ),
    Case("a voter in no group", "group.1=1:2", "zoo.cfg: server.3=c:2888:3888: server 3 is in no group", base=ENSEMBLE),
    _member("a group of a server that is none", "group.1=1:2:3:9", "there is no server.9"),
    Case(
        "a weight without groups", "weight.1=2", "zoo.cfg: server.1=a:2888:3888: server 1 is in no group", base=ENSEMBLE
    ),
    Case(
        "a weight of a server that is none",
        "group.1=1:2:3\nweight.9=1",
        "zoo.cfg: weight.9=1: there is no server.9",
        base=ENSEMBLE,
    ),
    Case(
        "a negative weight",
        "group.1=1:2:3\nweight.1=-1",
        "zoo.cfg: weight.1=-1: '-1' is no weight (0 to 9223372036854775807)",
        base=ENSEMBLE,
    ),
    Case(
        "no weight at all",
        "group.1=1:2:3\nweight.1=0\nweight.2=0\nweight.3=0",
        "zoo.cfg: group: no voter has any weight",
        base=ENSEMBLE,
    ),
    _member("a group of nothing", "group.1=", f"'' is no server id (0 to {LONG_MAX})"),
    _member(
        "a family without its dot",
        "group1=1:2:3",
        "unrecognised parameter; only server., group. and weight. keys belong here",
    ),
    Case(
        "only observers",
        "server.1=a:2888:3888:observer",
        "zoo.cfg: observers without any server that votes",
        base=ENSEMBLE,
        without="server",
    ),
    Case(
        "observers beside a single voter",
        "server.1=a:2888:3888\nserver.2=b:2888:3888:observer",
        "zoo.cfg: observers beside a single server that votes need standaloneEnabled=false",
        base=ENSEMBLE,
        without="server",
    ),
    Case(
        "no server that votes, not standalone",
        "standaloneEnabled=false",
        "zoo.cfg: standaloneEnabled=false: without it there must be at least one server that votes",
        base=ENSEMBLE,
        without="server",
    ),
    _myid("myid is missing", "no myid", FileNotFoundError(2, "No such file or directory"), "myid file is missing"),
    _myid("myid may not be read", "of another user", PermissionError(13, "Permission denied"), DENIED),
    _myid("myid is empty", "nothing", "", "myid=: not a number"),
    _myid("myid is no number", "one", "one\n", "myid=one: not a number"),
    _myid("myid is not in the list", "7", "7\n", "myid=7: there is no server.7 in zoo.cfg"),
    _myid("myid beyond 64 bits", "9" * 20, "9" * 20, f"myid={'9' * 20}: out of range (0 to {LONG_MAX})"),
    Case(
        "myid beyond 254 with extended types",
        "extendedTypesEnabled=true\nmyid: 255",
        "/data/myid: myid=255: out of range (0 to 254)",
        base=ENSEMBLE,
        lines="extendedTypesEnabled=true",
        files={"/data/myid": "255\n"},
    ),
    Case(
        "the dynamic file is missing",
        "dynamicConfigFile=/zoo.dyn",
        "/zoo.dyn: dynamicConfigFile: cannot be read: No such file or directory",
        base=DYNAMIC,
    ),
    Case(
        "members in both files",
        "dynamicConfigFile=/zoo.dyn\nserver.1=a:2888:3888",
        "zoo.cfg: server.1=a:2888:3888: members belong into the dynamic file /zoo.dyn, not here",
        base=DYNAMIC,
    ),
    _dynamic("another key in the dynamic file", "tickTime=2000", "Unrecognised parameter"),
    _dynamic(
        "a version in the dynamic file", "version=100000000", "the version is in the file's name, not in the file"
    ),
    _dynamic("a server twice in the dynamic file", "server.1=a:2888:3888\nserver.1=b:2888:3888", "configured twice"),
    _dynamic(
        "a wrong server in the dynamic file",
        "server.1=a:2888",
        f"the quorum or the election port is missing: {SYNTAX}",
    ),
]

PREAMBLE = """# Configurations that are refused

A configuration that cannot be used ends the start with exit status 2 and one line on standard error,
`zkq: <file>: <key>=<value>: <reason>`. `twistd zkq --check` says the same and starts nothing.

The table is checked against the server by its tests. `/data` is the data directory, `zoo.cfg` the file that was given
with `-c`; both are full paths in the real message. What is written stands behind a configuration that is good without
it.

| What is wrong | Written | Message |
|---|---|---|
"""


def page() -> str:
    """The page, as it must be."""
    return PREAMBLE + "".join(f"| {case.what} | {_code(case.written)} | {_code(case.message)} |\n" for case in CASES)


def _code(text: str) -> str:
    return "<br>".join("`" + line.replace("|", "\\|") + "`" for line in text.splitlines())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.what}: {case.written.splitlines()[-1]}")
def test_each_mistake_gets_its_message(case: Case) -> None:
    with pytest.raises(ConfigError) as caught:
        case.load()
    assert str(caught.value) == case.message
    assert len(case.message.splitlines()) == 1


@pytest.mark.parametrize("base", [STANDALONE, ENSEMBLE])
def test_the_bases_alone_are_good(base: str) -> None:
    Case("", "", "", base=base).load()


def test_the_page_shows_this_table() -> None:
    assert len(CASES) >= CASES_MIN
    assert PAGE.read_text(encoding="utf-8") == page()


if __name__ == "__main__":
    sys.stdout.write(f"{PAGE.write_text(page(), encoding='utf-8')} characters written to {PAGE}\n")
