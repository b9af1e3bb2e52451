"""The encoder that comes with the package: small, for samples and tests, without a download."""
