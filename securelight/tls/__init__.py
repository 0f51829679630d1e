"""TLS policy, contexts and the ClientHello. The only serving code that imports `ssl`."""
