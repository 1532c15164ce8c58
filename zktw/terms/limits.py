"""Every bound of the server with its reason."""

# Apache's receiver allocates what the length says; 2 KiB holds any list of addresses (QuorumCnxManager).
ELECTION_OPENING_BYTES_MAX = 2048
# A notification with a configuration of some thousand members; Apache's own bound.
NOTIFICATION_BYTES_MAX = 512 * 1024
NOTIFICATION_BYTES_MIN = 28
# One packet's data obeys jute's bound plus its slack (wire document, a).
JUTE_MAXBUFFER = 0xFFFFF
# A vector is not bounded by jute; no peer has a reason to send more identities than this on one packet.
AUTHINFO_ITEMS_MAX = 1024
# ACL entries of one list, nodes excluded: they are bounded by the stream itself.
ACL_ITEMS_MAX = 65536
# Connections on the quorum port that have not yet said who they are.
EARLY_LEARNERS_MAX = 256
# Connections on the election port that have not yet said who they are.
ELECTION_STRANGERS_MAX = 256
# Elections kept for the admin interface.
CHRONICLE_ELECTIONS_MAX = 100
# Values that a summary keeps for its percentiles: some kilobytes each, and of these there are some dozens.
SUMMARY_RECENT_MAX = 1024
# The first frame of a client is a ConnectRequest: 28 bytes without a password, 45 with one and all fields.
CONNECT_REQUEST_BYTES_MIN = 28
CONNECT_REQUEST_BYTES_MAX = 1024
# A clock that rings so much too late tells of a stall of this process: sessions are not judged by it.
STALL_MS = 250
# Bytes of events and replies that a client does not take, beyond what the transport holds: then it is given up.
CLIENT_BACKLOG_BYTES_MAX = 16 * 1024 * 1024
# Bytes of replies after which they are written before the next request is taken; above a transport's own mark.
CLIENT_OUT_BYTES_MAX = 256 * 1024
# What is read of a client that is told more than it takes: so its pings are heard, while its requests wait.
CLIENT_HELD_BYTES_MAX = 64 * 1024
# What a learner may leave unread of what it is told, before it is dropped: a tree under way keeps back what follows it.
LEARNER_BACKLOG_BYTES_MAX = 256 * 1024 * 1024
# Requests of one client that wait for a write of its own; and what the replies to them may have, as they look now.
CLIENT_WAITING_MAX = 128
CLIENT_REPLIES_BYTES_MAX = 1024 * 1024
# A multiRead of many large nodes: no client takes a reply of that size.
MULTI_READ_BYTES_MAX = 64 * 1024 * 1024
# Digests that are kept for comparison, one for each 128 transactions: Apache's own bound.
DIGESTS_MAX = 1024
# What one connection may be authenticated as: each check of a right looks at all of them.
IDENTITIES_MAX = 1000
# What the entries of scheme auth in one request may become: with the request less than what a log's reader takes.
EXPANDED_BYTES_MAX = 512 * 1024
# The ephemerals that the end of a session names: readers of Apache's take no entry of a log much longer than a request,
# and remove of themselves what else the session has.
CLOSE_SESSION_BYTES_MAX = 512 * 1024
# Lists that proposals have named, before those that none of them needs any more are forgotten.
OUTLOOK_ACLS_MAX = 1024
