"""Tunnels, as lines and tables: HTML for a notebook, text everywhere."""

from __future__ import annotations

from pi_v_jupyter.remote.tunnel import Tunnel, Tunnels
from pi_v_jupyter.views.tables import LEFT, in_html, text_table

COLUMNS = ("here", "VM", "port", "connections")
NONE = "No tunnels.", "%vers tunnel LOCAL:REMOTE", "opens one."


def _cells(tunnel: Tunnel) -> tuple[str, str, str]:
    state = "closed" if tunnel.closed else str(tunnel.connections)
    return tunnel.label, str(tunnel.remote_port), state


def tunnel_text(tunnel: Tunnel) -> str:
    """One tunnel in a line, such as "http://127.0.0.1:8080 → port 80 of build"."""
    closed = "  closed" if tunnel.closed else ""
    return f"{tunnel.url} → port {tunnel.remote_port} of {tunnel.label}{closed}"


def tunnel_html(tunnel: Tunnel) -> str:
    """One tunnel as HTML, with a link."""
    return tunnels_html(Tunnels([tunnel]))


def tunnels_text(tunnels: Tunnels) -> str:
    """Tunnels as text."""
    if not tunnels:
        return "{}  `{}` {}".format(*NONE)
    return text_table(COLUMNS, [(tunnel.url, *_cells(tunnel)) for tunnel in tunnels])


def tunnels_html(tunnels: Tunnels) -> str:
    """Tunnels as a table; each leads to where it leads."""
    if not tunnels:
        return "<p>{} <code>{}</code> {}</p>".format(*NONE)
    head = "".join(f"<th {LEFT}>{cell}</th>" for cell in COLUMNS)
    body = "".join(
        f'<tr><td {LEFT}><a href="{tunnel.url}" target="_blank" rel="noopener">{tunnel.url}</a></td>'
        + "".join(f"<td {LEFT}>{in_html(cell)}</td>" for cell in _cells(tunnel))
        + "</tr>"
        for tunnel in tunnels
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
