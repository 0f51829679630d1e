"""HTTP/1.1 and HTTP/2 without input or output: bytes in, events out. The only place that imports the engines."""
