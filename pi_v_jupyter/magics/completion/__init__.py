"""What Tab offers in `%vers`, `%vm` and `%%vm`, and in the bodies of `%%vm` cells.

`matcher` is what IPython asks; `cursor` says what the cursor is at; `lines` completes the words of a magic
with click, whose parameters say in `magics.parameters` what they may name; `scan` and `shell` complete bash,
`paths` files, `python` what a kernel on the VM knows. `tab` asks machines and the platform, in the time a Tab
may take.
"""
