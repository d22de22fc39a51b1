"""Deepgram Flux: options, wire messages and the client."""
