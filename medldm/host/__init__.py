"""The plugin host: hooks, discovery, registry."""
