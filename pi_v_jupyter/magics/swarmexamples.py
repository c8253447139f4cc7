"""What people type to have agents work: examples of `%vers swarm` and `%%task`; see `examples.py`."""

from __future__ import annotations

EXAMPLES = {
    "%vers swarm": """
        team = %vers swarm spawn golden -n 3
        %vers swarm
        %vers swarm teardown
        """,
    "%vers swarm spawn": """
        %vers swarm spawn golden -n 3
        team = %vers swarm spawn golden --labels api,web,docs --ttl 4h
        %vers swarm spawn golden --model scripted/rehearsal
        %vers swarm spawn golden --bare
        %vers swarm spawn golden -n 3 --budget 5
        """,
    "%vers swarm task": """
        %vers swarm task api "Have the tests pass."
        %vers swarm task api,web "Write a README." --wait
        """,
    "%vers swarm status": """
        %vers swarm status
        agents = %vers swarm status
        """,
    "%vers swarm discover": """
        %vers swarm discover
        """,
    "%vers swarm read": """
        %vers swarm read api
        text = %vers swarm read api --tail 2000
        """,
    "%vers swarm wait": """
        %vers swarm wait
        waited = %vers swarm wait api web --timeout 600
        """,
    "%vers swarm abort": """
        %vers swarm abort api
        %vers swarm abort api web
        """,
    "%vers swarm restart": """
        %vers swarm restart api
        """,
    "%vers swarm answer": """
        %vers swarm answer api
        %vers swarm answer api yes
        %vers swarm answer api --cancel
        """,
    "%vers swarm stats": """
        %vers swarm stats
        used = %vers swarm stats api web
        """,
    "%vers swarm log": """
        %vers swarm log api
        %vers swarm log api --html api.html
        %vers swarm log api --markdown api.md
        """,
    "%vers swarm collect": """
        %vers swarm collect api report.md
        %vers swarm collect api,web src results/
        """,
    "%vers swarm diff": """
        %vers swarm diff api
        %vers swarm diff api src --apply ~/project --branch from-api
        """,
    "%vers swarm teardown": """
        %vers swarm teardown api
        %vers swarm teardown -f
        """,
    "%%task": """
        %%task api
        Read the code in src, and write down in NOTES.md what it does.
        %%task api,web --wait
        Have the tests pass.
        %%task api --plan
        Look how requests are logged, and plan how they could be traced.
        %%task * --steer
        Do not touch the lock file.
        """,
    "%plan": """
        %plan on
        %plan off
        %plan run api
        """,
    "%plan on": """
        %plan on
        %plan on --in readonly
        """,
    "%plan off": """
        %plan off
        """,
    "%plan status": """
        %plan status
        """,
    "%plan show": """
        %plan show
        plan = %plan show api
        """,
    "%plan run": """
        %plan run
        %plan run api --wait
        """,
    "%plan done": """
        %plan done 2
        %plan done 2 api
        """,
    "%%plan": """
        %%plan api
        1. Read the code in src.
        2. Write down in NOTES.md what it does.
        """,
}
