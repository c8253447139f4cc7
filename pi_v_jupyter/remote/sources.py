"""Programs of ours that run on a VM: a package each, sent as one source text."""

from __future__ import annotations

from collections.abc import Collection
from importlib import resources
from types import ModuleType

# A module is compiled when it is first imported: few programs ever copy anything.
LOADER = """\
import sys
class Sources:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in SOURCES:
            return type(sys.__spec__)(name, cls, is_package="." not in name)
    @staticmethod
    def create_module(spec):
        return None
    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Sources)
from {name}.program import main
main(sys.argv[1:])
"""


def source(package: ModuleType, name: str, without: Collection[str] = ()) -> bytes:
    """`package`, called `name` over there, but for some modules; its `program.main` gets the arguments."""
    files = sorted(resources.files(package).iterdir(), key=lambda file: file.name)
    modules = {file.name.removesuffix(".py"): file for file in files if file.name.endswith(".py")}
    texts = {
        f"{name}.{module}": file.read_text() for module, file in modules.items() if module not in without
    }
    return f"SOURCES = {texts | {name: ''}!r}\n{LOADER.replace('{name}', name)}".encode()
