"""The public HTTP cache tests (cache-tests.fyi) before our cache and before others."""
