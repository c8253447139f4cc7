"""Commits, tags, and what came from what, as tables and trees: HTML for a notebook, text everywhere."""

from __future__ import annotations

from pi_v_jupyter import names, sizes
from pi_v_jupyter.commits import Commit, Commits, Tags
from pi_v_jupyter.lineage import Facts, Lineage, origin
from pi_v_jupyter.views.tables import LEFT, STAR, age, html_table, in_html, size, text_table
from pi_v_jupyter.vm import VM

COMMIT_COLUMNS = ("name", "id", "tags", "age", "VM", "description")
TAG_COLUMNS = ("tag", "commit", "age")
TREE_COLUMNS = ("", "id", "state", "age", "")
PRE = 'style="text-align: left; white-space: pre; font-family: monospace"'
NO_COMMITS = "No commits.", "%vers commit", "makes one of the active VM."
NO_TAGS = "No tags.", "%vers tag NAME COMMIT", "makes one."
NO_TREE = "No VMs and no commits.", "%vers create", "makes a VM."


def commit_row(commit: Commit) -> tuple[str, ...]:
    """One commit under COMMIT_COLUMNS."""
    info = commit.info
    origin = (info.parent_vm_id or "")[:8]
    described = names.shown(info.description or "")
    return commit.name, commit.id[:8], ", ".join(commit.tags), age(commit.created_at), origin, described


def commit_text(commit: Commit) -> str:
    """One commit in one line, such as "commit before  3fa9c1d2  golden"."""
    return "  ".join(part for part in (f"commit {commit.name}".rstrip(), commit.id[:8], *commit.tags) if part)


def commit_html(commit: Commit) -> str:
    """One commit as HTML."""
    return html_table(COMMIT_COLUMNS, [commit_row(commit)])


def commits_text(commits: Commits) -> str:
    """Commits as text."""
    return text_table(COMMIT_COLUMNS, [*map(commit_row, commits)]) if commits else _none_text(NO_COMMITS)


def commits_html(commits: Commits) -> str:
    """Commits as HTML."""
    return html_table(COMMIT_COLUMNS, [*map(commit_row, commits)]) if commits else _none_html(NO_COMMITS)


def _tag_rows(tags: Tags) -> list[tuple[str, ...]]:
    return [(tag.tag_name, tag.commit_id[:8], age(tag.updated_at or tag.created_at)) for tag in tags]


def tags_text(tags: Tags) -> str:
    """Tags as text."""
    return text_table(TAG_COLUMNS, _tag_rows(tags)) if tags else _none_text(NO_TAGS)


def tags_html(tags: Tags) -> str:
    """Tags as HTML."""
    return html_table(TAG_COLUMNS, _tag_rows(tags)) if tags else _none_html(NO_TAGS)


def _tree_rows(tree: Lineage) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for line in tree:
        item = line.item
        if isinstance(item, VM):
            mark = f"{STAR} " if item.vm_id == tree.active else ""
            state, more = item.state.value, size(item)
        else:
            mark = "◦ "
            state, more = "commit", ", ".join(item.tags)
        drawn = f"{line.stem}{mark}{item.label}"
        found.append((drawn, item.id[:8], state, age(item.created_at), more))
    return found


def tree_text(tree: Lineage) -> str:
    """VMs and commits, each under what it came from."""
    if not tree:
        return _none_text(NO_TREE)
    return "\n".join(text_table(TREE_COLUMNS, _tree_rows(tree)).splitlines()[1:])


def tree_html(tree: Lineage) -> str:
    """The same as a table."""
    if not tree:
        return _none_html(NO_TREE)
    body = "".join(
        f"<tr><td {PRE}>{in_html(first)}</td>"
        + "".join(f"<td {LEFT}>{in_html(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in _tree_rows(tree)
    )
    return f"<table><tbody>{body}</tbody></table>"


def facts_rows(facts: Facts) -> list[tuple[str, str]]:
    """What is known of a VM or a commit, a name and a value each; what is not known is left out."""
    item, came_from = facts.item, facts.origin
    gone = origin(item, ())
    told = [
        ("name", item.name),
        ("id", item.id),
        ("made", f"{item.created_at:%Y-%m-%d %H:%M:%S} UTC, {age(item.created_at)} ago"),
        ("came from", _called(came_from) if came_from else f"{gone[:8]}, which is gone" if gone else ""),
    ]
    if isinstance(item, VM):
        info = item.info
        told[2:2] = [("state", info.state.value), ("reason", names.shown(info.reason or ""))]
        told += [
            (
                "size",
                size(item) + (f" · disk {sizes.mebibytes(info.fs_size_mib)}" if info.fs_size_mib else ""),
            ),
            ("address", names.shown(info.ip or "")),
            ("labels", names.shown(", ".join(f"{key}={value}" for key, value in info.labels.items()))),
            ("owner", names.shown(info.owner_id)),
        ]
    else:
        told += [
            ("tags", ", ".join(item.tags)),
            ("description", names.shown(item.info.description or "")),
            ("public", "yes" if item.info.is_public else ""),
            ("owner", names.shown(item.info.owner_id)),
        ]
    commits = [one for one in facts.offspring if isinstance(one, Commit)]
    vms = [one for one in facts.offspring if isinstance(one, VM)]
    told += [("commits", ", ".join(map(_called, commits))), ("VMs made of it", ", ".join(map(_called, vms)))]
    return [(name, value) for name, value in told if value]


def facts_text(facts: Facts) -> str:
    """All that is known of a VM or a commit, a line each."""
    return text_table(*_head_and_rows(facts))


def facts_html(facts: Facts) -> str:
    """The same as a table."""
    return html_table(*_head_and_rows(facts))


def _head_and_rows(facts: Facts) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    kind = "VM" if isinstance(facts.item, VM) else "commit"
    return (kind, facts.item.label), facts_rows(facts)


def _called(item: VM | Commit) -> str:
    kind = "" if isinstance(item, VM) else "commit "
    return f"{kind}{item.label}" + (f" ({item.id[:8]})" if item.label != item.id[:8] else "")


def _none_text(words: tuple[str, str, str]) -> str:
    return f"{words[0]}  `{words[1]}` {words[2]}"


def _none_html(words: tuple[str, str, str]) -> str:
    return f"<p>{words[0]} <code>{words[1]}</code> {words[2]}</p>"
