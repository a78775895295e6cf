"""``trustnode profile``: who you are.

Decides: what is shown of a profile; never a private key. Leaves to others: files (``sdk``, ``keys``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trustnode.cli import asking, output
from trustnode.cli.lazy import Group

if TYPE_CHECKING:
    from trustnode.sdk.profile import Profile


@click.group(cls=Group)
def profile() -> None:
    """Who you are."""


@profile.command()
@click.argument("name", required=False)
@click.option("--adbc", "form", flag_value="adbc", help="Settings for an ADBC client, to paste.")
@click.option("--jdbc", "form", flag_value="jdbc", help="Settings for a JDBC client, to paste.")
def show(name: str | None, form: str | None) -> None:
    """Show a profile: venue, address, keys and when they end."""
    from trustnode.sdk.profile import Profile

    found = Profile.open(name or asking.profile())
    if form is not None:
        settings = adbc(found) if form == "adbc" else jdbc(found)
        output.show(settings, *(f"{key} = {value!r}" for key, value in settings.items()))
        return
    data = _data(found)
    output.show(data, *output.pairs((key.replace("_", " "), _text(value)) for key, value in data.items()))


def _data(found: Profile) -> dict[str, Any]:
    return {
        "name": found.name,
        "participant": found.participant,
        "venue": found.venue,
        "addresses": list(found.settings.addresses),
        "fingerprint": found.settings.fingerprint,
        "roles": list(found.settings.roles),
        "custody": found.settings.custody,
        "folder": str(found.folder),
        "certificate_ends": _end_of(found),
    }


def _end_of(found: Profile) -> str:
    from trustnode.core import clock

    return clock.text(found.credential.leaf.not_valid_after_utc)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = str(value)
    return output.local_time(text) if len(text) == 24 and text.endswith("Z") else text


def _roots(found: Profile) -> Path:
    """The venue's roots as a file: stock clients read them from one."""
    from trustnode.sdk.connection import target
    from trustnode.sdk.profile import replace_file

    path = found.folder / "roots.pem"
    replace_file(path, target(found).roots_pem)
    return path.resolve()


def adbc(found: Profile) -> dict[str, str]:
    """Settings of an ADBC Flight SQL client; those that end in ``_file`` take the content of the file."""
    from trustnode.core.identity import node_dns

    folder = found.folder.resolve()
    prefix = "adbc.flight.sql.client_option"
    return {
        "uri": f"grpc+tls://{found.settings.addresses[0]}",
        f"{prefix}.tls_override_hostname": node_dns(found.venue),
        f"{prefix}.tls_root_certs_file": str(_roots(found)),
        f"{prefix}.mtls_cert_chain_file": str(folder / "client.pem"),
        f"{prefix}.mtls_private_key_file": str(folder / "client.key"),
    }


def jdbc(found: Profile) -> dict[str, str]:
    """Settings of the Arrow Flight SQL JDBC driver: its URL, and the line that its machine's hosts file needs.

    The driver compares the certificate with the host of the URL, so that has to be the node's own name.
    """
    from trustnode.core.identity import node_dns

    folder, name = found.folder.resolve(), node_dns(found.venue)
    host, _, port = found.settings.addresses[0].rpartition(":")
    options = {
        "useEncryption": "true",
        "tlsRootCerts": str(_roots(found)),
        "clientCertificate": str(folder / "client.pem"),
        "clientKey": str(folder / "client.key"),
    }
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return {"url": f"jdbc:arrow-flight-sql://{name}:{port}/?{query}", "hosts": f"{host.strip('[]')} {name}"}
