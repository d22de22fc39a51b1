"""What a host's name says of where it is."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """The host is this machine: ``localhost``, a name below it, or a loopback address."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
