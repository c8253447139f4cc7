"""A model that follows a script, for where there is no key of a real one or nothing may be left to chance.

`program.py` is started beside an agent and answers on 127.0.0.1; `script.py` says which answer is next,
`rehearsal.py` makes one up, `stream.py` is what an answer looks like on the wire. Python 3.8, standard
library only: it runs on VMs, sent as one source text (`pi_v_jupyter/remote/sources.py`).
"""
