"""Where a caller is, as one address or as the network that counts as one caller."""
from ipaddress import IPv4Address, IPv6Address, ip_address


def network_of(remote: str) -> str:
    """The address; of IPv6, whose callers have whole networks, its first half (RFC 6177 §2). Empty where unknown."""
    if ":" not in remote:
        return remote
    match plain(remote):
        case IPv6Address() as address:
            return ":".join(address.exploded.split(":")[:4]) + "::/64"
        case address:
            return str(address)


def plain(address: str) -> IPv4Address | IPv6Address:
    """The address; the one of IPv4 that a socket for both writes as one of IPv6. Raises `ValueError`."""
    found = ip_address(address.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def is_loopback(address: str) -> bool:
    if address == "127.0.0.1":
        return True
    try:
        return plain(address).is_loopback
    except ValueError:
        return False
