"""The adapters that come with this package, one framework each."""
