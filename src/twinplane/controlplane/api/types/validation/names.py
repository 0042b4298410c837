"""The syntax of names, labels, keys and ports, each check returning the problems in upstream's words.

From k8s.io/apimachinery pkg/util/validation and pkg/api/validation. All are pure functions of a text; the frequent ones
remember what they have seen, since the same label keys and names come again and again.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_dns1035 = re.compile(_DNS1035).fullmatch
_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_value = re.compile(_VALUE).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_is_wildcard_subdomain = re.compile(rf"\*\.{_SUBDOMAIN}").fullmatch
_is_cron_name = re.compile("[-a-z0-9]+").fullmatch

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
_QUALIFIED_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)
_CONFIG_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    f"'key-name', regex used for validation is '{_CONFIG_KEY}')"
)
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    rf"regex used for validation is '\*\.{_SUBDOMAIN}')"
)
_PATH_SEGMENT_WORDS = frozenset({".", ".."})


def _limit(size: int) -> str:
    return f"must be no more than {size} bytes"


@lru_cache(maxsize=8192)
def dns_subdomain(text: str) -> tuple[str, ...]:
    problems = (_limit(253),) if len(text) > 253 else ()
    return problems if _is_subdomain(text) else (*problems, _SUBDOMAIN_TEXT)


@lru_cache(maxsize=8192)
def dns_label(text: str) -> tuple[str, ...]:
    problems = (_limit(63),) if len(text) > 63 else ()
    return problems if _is_label(text) else (*problems, _LABEL_TEXT)


def dns_1035_label(text: str) -> tuple[str, ...]:
    problems = (_limit(63),) if len(text) > 63 else ()
    return problems if _is_dns1035(text) else (*problems, _DNS1035_TEXT)


@lru_cache(maxsize=8192)
def qualified_name(text: str) -> tuple[str, ...]:
    """Label and annotation keys, resource names, finalizers: `[prefix/]name`."""
    prefix, slash, name = text.rpartition("/")
    if text.count("/") > 1:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return (f"a qualified name {_QUALIFIED_RULE} {optional}",)
    problems: list[str] = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems.extend(f"prefix part {problem}" for problem in dns_subdomain(prefix))
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append(f"name part {_limit(63)}")
    if not _is_qualified(name):
        problems.append(f"name part {_QUALIFIED_RULE}")
    return tuple(problems)


@lru_cache(maxsize=8192)
def label_value(text: str) -> tuple[str, ...]:
    problems = (_limit(63),) if len(text) > 63 else ()
    return problems if _is_value(text) else (*problems, _VALUE_TEXT)


def path_segment(text: str) -> tuple[str, ...]:
    """Names that only have to fit in a URL (RBAC)."""
    if text in _PATH_SEGMENT_WORDS:
        return (f"may not be '{text}'",)
    return tuple(f"may not contain '{character}'" for character in "/%" if character in text)


@lru_cache(maxsize=1024)
def config_key(text: str) -> tuple[str, ...]:
    problems: list[str] = []
    if len(text) > 253:
        problems.append(_limit(253))
    if not _is_config_key(text):
        problems.append(_CONFIG_KEY_TEXT)
    if text == ".":
        problems.append("must not be '.'")
    elif text.startswith(".."):
        problems.append("must not be '..'" if text == ".." else "must not start with '..'")
    return tuple(problems)


@lru_cache(maxsize=4096)
def environment_name(text: str) -> tuple[str, ...]:
    if not text or any(not " " <= character <= "~" or character == "=" for character in text):
        return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)
    return ()


@lru_cache(maxsize=1024)
def port_name(text: str) -> tuple[str, ...]:
    """IANA service names, as container ports and target ports have them."""
    problems: list[str] = []
    if len(text) > 15:
        problems.append("must be no more than 15 bytes")
    if not _is_cron_name(text):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any(character.isalpha() for character in text):
        problems.append("must contain at least one letter (a-z)")
    if "--" in text:
        problems.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        problems.append("must not begin or end with a hyphen")
    return tuple(problems)


def wildcard_subdomain(text: str) -> tuple[str, ...]:
    problems = (_limit(253),) if len(text) > 253 else ()
    return problems if _is_wildcard_subdomain(text) else (*problems, _WILDCARD_TEXT)


@lru_cache(maxsize=8192)
def ip_address(text: str) -> tuple[str, ...]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return ()


def interface_address(text: str) -> tuple[str, ...]:
    """An address with the length of its network's prefix."""
    try:
        found = ipaddress.ip_interface(text if text.rpartition("/")[2].isdecimal() and "/" in text else "")
    except ValueError:
        return ("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",)
    address, length = found.ip, found.network.prefixlen
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    canonical = f"{mapped}/{length - 96}" if mapped is not None and length >= 96 else f"{mapped or address}/{length}"
    return () if canonical == text else (f'must be in canonical form ("{canonical}")',)


def cidr(text: str) -> tuple[str, ...]:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        text = ""
    if "/" not in text:
        return ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)
    return ()


def percent(text: str) -> tuple[str, ...]:
    if re.fullmatch("[0-9]+%", text):
        return ()
    rule = "a valid percent string must be a numeric string followed by an ending '%'"
    return (f"{rule} (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",)
