"""The forms that results are shown in: text, JSON, JUnit, SARIF, one HTML page. Each makes text from a Run."""
