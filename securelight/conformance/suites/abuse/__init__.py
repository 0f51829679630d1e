"""Attacks that servers have fallen to, each beside a polite client that must not notice. RFC 9113, section 10.5: a
server SHOULD track the use of what costs it more than the client, and limit it. Where the lack of a limit has a CVE
number, the case is a MUST."""

TITLE = "Abuse"
