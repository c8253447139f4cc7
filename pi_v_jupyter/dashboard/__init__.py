"""What a dashboard shows and does, without any of its pixels.

A `Board` watches a session while somebody looks, and tells viewers what has changed; what they want done is a
named intent. It knows nothing of widgets: `views/dashboard` carries messages between it and a browser.

A viewer is one view in one page, and names itself. Messages are JSON objects; none has a null.

    to the views                                       from a view
    snapshot   {to: view, seq, now, all}               opened     {view}: a snapshot, please
    patch      {seq, now, patch}: see `patches`        visible    {view, visible: bool}
    transcript {to: view, reading, seq, patch}         reading    {view, vm, number}: that agent's transcript;
                                                                  "" none
    heard      {to: view, id}: the intent is here      intent     {view, id, name, args: {…}}
    output     {to: view, id, text}: a piece           left       {view}
    answer     {to: view, id, ok, text, hint, noted}
    closed     {}: nothing more comes

`seq` counts from 0 per board, and per reading for transcripts, whose first patch is against {}; a view that
misses one asks for a snapshot (or says `reading`, with another number) again, and is given its last answers
again. Only `opened` makes a view known: one that was silent for an hour may be forgotten, and opens anew.
The intent `terminal` is answered with the id of what shows it, which the viewer makes.
`output` is what a command writes before its answer comes, which has all of it; `noted`, whether the answer
is told among the events too. The intent `cancel`, with {intent: id}, stops one that goes on. `now` is the
kernel's clock, in seconds since the epoch, as all times are. While anybody looks, a patch comes at least
every BEAT seconds, though nothing has changed: a view that hears none for long says so. Nothing comes while
all are hidden. A visible view says that it is every 30 s, for a page may vanish without a word.
"""
