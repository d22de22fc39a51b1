"""agentkit's offline engine: ears, voice and brain that need no key and no network."""
