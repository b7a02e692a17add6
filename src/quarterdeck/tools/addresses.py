"""Which network addresses a tool may connect to: public ones, and private ones that the operator opened."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(map(IPv4Network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)))  # fmt: skip
"""IANA's special-purpose registry, multicast and the reserved rest."""
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")))
"""Of the one block that is handed out: protocol assignments (with Teredo), documentation, 6to4, AS112."""
_TRANSLATED = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))
"""IPv4 addresses written as IPv6: mapped, and through a NAT64 gateway. What counts is the IPv4 address inside."""
_METADATA = tuple(map(ip_network, (
    "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32", "fd00:ec2::254/128",
    "fd20:ce::254/128",
)))  # fmt: skip
"""Where clouds hand credentials to whoever asks; no configuration opens these."""
_ANYBODY = tuple(map(ip_network, ("0.0.0.0/32", "::/128", "255.255.255.255/32", "224.0.0.0/4", "ff00::/8")))
"""Addresses that name no single host; no configuration opens these either."""

PRIVATE = tuple(map(ip_network, (
    "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7",
)))  # fmt: skip
"""What `private: true` of a service opens: this machine and private networks."""


def refusal(text: str, opened: Sequence[Network] = ()) -> str:
    """Return why an address must not be connected to; empty when it may be.

    Args:
        text: The numeric address, as the resolver returned it.
        opened: Networks that the operator opened.
    """
    try:
        address = _meant(ip_address(text))
    except ValueError:
        return "it is no numeric address"
    if any(address in network for network in (*_METADATA, *_ANYBODY)):
        return "it hands out this machine's credentials, or names no single host"
    if isinstance(address, IPv6Address) and address.scope_id:
        return "it holds only on one network interface"
    if any(address in network for network in opened):
        return ""
    return "" if _is_public(address) else "it is a private, local or reserved address"


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, else the address itself."""
    if isinstance(address, IPv6Address) and not address.scope_id and any(address in block for block in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address not in _PUBLIC_6 or any(address in network for network in _NOT_PUBLIC_6):
        return False
    return not _is_tunnel(address)


def _is_tunnel(address: IPv6Address) -> bool:
    """Say whether an interface id is ISATAP's, which carries an IPv4 address to wherever a tunnel ends."""
    return (int(address) >> 32) & 0xFFFF_FFFF in (0x0000_5EFE, 0x0200_5EFE)
