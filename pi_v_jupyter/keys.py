"""Which settings there are, and what each may be.

One table for all who set or read one: the magic, the traitlets, the environment. Nothing heavy is imported
here: `%load_ext` goes through this module.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pi_v_jupyter.errors import SettingsError, UsageError

CLOUD_URL = "https://api.vers.sh/api/v1"
Value = str | int | float


@dataclass(frozen=True)
class Key:
    """One setting. `parse` makes its value of a text, or raises SettingsError.

    `variable` is its name in the environment, empty when it has none there; a `secret` is never shown.
    """

    name: str
    about: str
    parse: Callable[[str], Value]
    variable: str = ""
    secret: bool = False


def api_key(text: str) -> str:
    """Printable ASCII without blanks, as a header can carry it."""
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            "That is no key: it is empty, or has blanks or special characters.", "Copy it anew."
        )
    return text


def base_url(text: str) -> str:
    """A plain http(s) URL, with or without `/api/v1`."""
    return _plain_url(
        text, "base URL", f"Set VERS_BASE_URL to one such as {CLOUD_URL}; the key goes in VERS_API_KEY."
    )


def registry_url(text: str) -> str:
    """A plain http(s) URL."""
    return _plain_url(
        text, "registry's URL", "Set VERS_VM_REGISTRY_URL to one; the token goes in VERS_AUTH_TOKEN."
    )


def _plain_url(text: str, what: str, remedy: str) -> str:
    url = text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:
        usable = False
    if usable:
        extras = "@" in parts.netloc or parts.query or parts.fragment
        plain = url.isprintable() and " " not in url and not extras
        usable = plain and parts.scheme in ("http", "https") and bool(parts.hostname)
    if not usable:
        shown = "" if "@" in url or "?" in url else f": {url!r}"  # either may carry a secret
        raise SettingsError(f"The {what} is not a plain http(s) URL{shown}.", remedy)
    return url


def domain(text: str) -> str:
    """A domain name: what comes after `<vm-id>.` in the host name of a VM."""
    labels = text.split(".")
    if len(text) > 200 or not all(
        label and label.isascii() and label.replace("-", "").isalnum() for label in labels
    ):
        raise SettingsError(f"{text!r} is no domain name.", "Set vm_domain to one such as vm.vers.sh.")
    return text


def port(text: str) -> int:
    """1 to 65535."""
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) < 65536:
        raise SettingsError(f"{text!r} is not a port number.", "Set VERS_VM_PORT to 1-65535.")
    return int(text)


def seconds(text: str) -> float:
    """A number, 0 or more; a clock cannot wait for NaN or infinity."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if number < 0 or not math.isfinite(number):
        raise SettingsError(f"{text!r} is not a number of seconds.", "Set ssh_timeout to 0 or more.")
    return number


def platform(text: str) -> str:
    """The word `embedded`."""
    if text != "embedded":
        raise SettingsError(f"{text!r} is no platform to prefer.", "Set platform to embedded, or not at all.")
    return text


KEYS = {
    key.name: key
    for key in (
        Key("api_key", "The key of your Vers account.", api_key, "VERS_API_KEY", secret=True),
        Key("base_url", f"Where the Vers API is, such as {CLOUD_URL}.", base_url, "VERS_BASE_URL"),
        Key("vm_domain", "VMs are found at <vm-id>.DOMAIN.", domain, "VERS_VM_DOMAIN"),
        Key("vm_port", "The port at which VMs speak TLS.", port, "VERS_VM_PORT"),
        Key("ca_file", "A PEM file: who signs the certificates of VMs.", str, "VERS_CA_FILE"),
        Key("ssh_timeout", "Seconds a command may take; 0: any.", seconds, "VERS_SSH_TIMEOUT"),
        Key("platform", '"embedded" prefers the embedded platform to an account.', platform),
        Key(
            "registry_url",
            "Where the registry of a swarm is, if it has one.",
            registry_url,
            "VERS_VM_REGISTRY_URL",
        ),
        Key("registry_token", "The key of that registry.", api_key, "VERS_AUTH_TOKEN", secret=True),
    )
}


def known(name: str) -> Key:
    """The setting of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in KEYS:
        near = difflib.get_close_matches(name, KEYS, 1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no setting {name!r}.{guess}", f"There are: {', '.join(KEYS)}.")
    return KEYS[name]
