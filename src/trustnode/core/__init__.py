"""The rules: bytes and a time go in, a verified value or an error comes out. No clock, socket or randomness."""
