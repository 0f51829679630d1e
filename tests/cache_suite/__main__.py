"""`python -m tests.cache_suite` runs the suite against each cache, and writes the table in docs/cache.md.

With names of caches (`securelight`, `nginx`, `Varnish`) only those are run, and the others' results stay.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.cache_suite.caches import CACHES
from tests.cache_suite.kept import DOCUMENT, Kept, load, save, with_table
from tests.cache_suite.suite import fetched_suite, origin_server, run_suite


def main(names: list[str]) -> None:
    """Run the suite against the caches called `names`, all of them if there are none."""
    suite = fetched_suite()
    kept = load()
    for name in names or CACHES:
        with tempfile.TemporaryDirectory() as directory, origin_server(suite) as origin:
            print(f"{name} ...", file=sys.stderr, flush=True)
            with CACHES[name](Path(directory), origin) as cache:
                results = run_suite(suite, cache.base, ca=cache.ca)
        kept.caches[name] = Kept(cache.version, {one.id: one.outcome for one in results})
        kept.take(results)
    save(kept)
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), kept))


if __name__ == "__main__":
    main(sys.argv[1:])
