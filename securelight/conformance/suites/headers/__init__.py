"""The fields of answers that protect people who read them."""

TITLE = "Security headers"
