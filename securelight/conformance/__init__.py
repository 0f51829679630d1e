"""A judge of HTTPS servers: asks what the RFCs ask, and reports what was answered, in words and in bytes.

It works on any server that can be reached, and shares no parser with ours: it writes its own frames. Suites of cases
are in `suites/`, one folder a suite; `docs/conformance.md` tells how to add a case.
"""
