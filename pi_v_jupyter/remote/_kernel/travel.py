"""Values on their way from one Python to another, by their structure; by pickle only if that is asked for.

The same module runs at both ends: it is sent to the kernel on the VM. What travels is a tree of tagged
nodes, as JSON, and the bytes it refers to:

    MAGIC, length of the tree (u64), tree, and each blob: its length (u64) and its bytes

    {"is": "plain", "value": …}                             None, a bool, a number, a text
    {"is": "list" | "tuple" | "dict", "items": …}           of nodes
    {"is": "bytes" | "array" | "arrow" | "polars" | "pickle", "blob": number, …}
    {"is": "pandas", "blob": an Arrow table, "series", "named"}
    {"is": "columns", …}                                    of pandas, where one end has no pyarrow, made of
    {"is": "array" | "list" | "category" | "zoned" | "masked" | "texts", …}   and, for an index,
    {"is": "levels" | "level", …}
    {"is": "dataclass", "module": …, "name": …, "fields": {name: node}}
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import io
import json
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

MAGIC = b"pi-v-travel 1\n"
LENGTH = struct.Struct("!Q")
DEEPEST = 200  # lists in lists
LIBRARIES = ("numpy", "pandas", "polars", "pyarrow")


INTEGERS = [f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)]
MASKED = ("boolean", "Float32", "Float64", *INTEGERS)  # columns of pandas with gaps


class Unfit(Exception):
    """It does not travel; says what and why."""


class Missing(Unfit):
    """There is no such variable."""


class Lacking(Unfit):
    """One end lacks what it takes."""


def libraries() -> list[str]:
    """Those that are installed here."""
    return [name for name in LIBRARIES if importlib.util.find_spec(name) is not None]


def dump(values: dict[str, Any], there: list[str], allow_pickle: bool = False) -> bytes:
    """The values by their names, for an end that has the libraries `there`. Raises Unfit."""
    packer = Packer(there, allow_pickle)
    tree = {name: packer.node(value, name, 0) for name, value in values.items()}
    head = json.dumps(tree).encode("utf-8", "surrogatepass")
    parts = [MAGIC, LENGTH.pack(len(head)), head]
    for blob in packer.blobs:
        parts += [LENGTH.pack(len(blob)), blob]
    return b"".join(parts)


def load(data: bytes, names: dict[str, Any], allow_pickle: bool = False) -> dict[str, Any]:
    """The values of `dump`. `names`: where a class of `__main__` is looked for. Raises Unfit."""
    view = memoryview(data)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise Unfit("what came is no value of ours")
    try:
        at = len(MAGIC)
        (size,) = LENGTH.unpack_from(view, at)
        at += LENGTH.size
        tree = json.loads(bytes(view[at : at + size]).decode("utf-8", "surrogatepass"))
        at += size
        blobs = []
        while at < len(view):
            (size,) = LENGTH.unpack_from(view, at)
            at += LENGTH.size
            blobs.append(view[at : at + size])
            at += size
        unpacker = Unpacker(blobs, names, allow_pickle)
        return {str(name): unpacker.value(node, str(name)) for name, node in tree.items()}
    except Unfit:
        raise
    except Exception as error:  # noqa: BLE001  libraries raise what they like at what is none of theirs
        raise Unfit(f"what came makes no sense ({type(error).__name__}: {error})") from None


class Packer:
    """Makes nodes of values."""

    def __init__(self, there: list[str], allow_pickle: bool) -> None:
        self.there, self.allow_pickle = set(there), allow_pickle
        self.blobs: list[Any] = []

    def blob(self, data: Any) -> int:
        self.blobs.append(data)
        return len(self.blobs) - 1

    def node(self, value: Any, name: str, depth: int) -> dict[str, Any]:
        if depth > DEEPEST:
            raise Unfit(f"{name[:40]}… is nested too deep, or contains itself")
        kind = type(value)
        if value is None or kind in (bool, int, float, str):
            return {"is": "plain", "value": value}
        if kind in (list, tuple):
            items = [self.node(each, f"{name}[{i}]", depth + 1) for i, each in enumerate(value)]
            return {"is": kind.__name__, "items": items}
        if kind is dict and all(type(key) is str for key in value):
            fields = {key: self.node(each, f"{name}[{key!r}]", depth + 1) for key, each in value.items()}
            return {"is": "dict", "items": fields}
        if kind in (bytes, bytearray):
            return {"is": "bytes", "blob": self.blob(bytes(value)), "mutable": kind is bytearray}
        found = self.of_a_library(value, name)
        if found is None and dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {
                field.name: self.node(getattr(value, field.name), f"{name}.{field.name}", depth + 1)
                for field in dataclasses.fields(value)
            }
            found = {
                "is": "dataclass",
                "module": kind.__module__,
                "name": kind.__qualname__,
                "fields": fields,
            }
        if found is None and self.allow_pickle:
            try:
                found = {"is": "pickle", "blob": self.blob(pickle.dumps(value))}
            except Exception as error:  # noqa: BLE001  a class says what it likes
                raise Unfit(f"{name} cannot be pickled: {error}") from None
        if found is None:
            raise Unfit(f"{name} is a {kind.__module__}.{kind.__qualname__}".replace("builtins.", ""))
        return found

    def of_a_library(self, value: Any, name: str) -> dict[str, Any] | None:
        """An array or a table, if it is one. Only libraries that somebody imported can have made it."""
        library = type(value).__module__.partition(".")[0]
        module = sys.modules.get(library)
        if library not in LIBRARIES or module is None:
            return None
        if library == "numpy" and (type(value) is module.ndarray or isinstance(value, module.generic)):
            return self.array(value, name)
        if library == "pyarrow" and isinstance(value, module.Table):
            self.needs("pyarrow", name)
            return {"is": "arrow", "blob": self.arrow(value)}
        if library == "polars" and isinstance(value, (module.DataFrame, module.Series)):
            self.needs("polars", name)
            frame = value.to_frame() if isinstance(value, module.Series) else value
            file = io.BytesIO()
            frame.write_ipc(file)
            return {"is": "polars", "blob": self.blob(file.getvalue()), "series": frame is not value}
        if library == "pandas" and isinstance(value, (module.DataFrame, module.Series)):
            self.needs("pandas", name)
            return self.pandas(value, name)
        return None

    def needs(self, library: str, name: str) -> None:
        if library not in self.there:
            raise Lacking(f"{name} needs {library}, which is not installed at the other end")

    def array(self, value: Any, name: str) -> dict[str, Any]:
        self.needs("numpy", name)
        if value.dtype.hasobject:
            raise Unfit(f"{name} is an array of Python objects")
        numpy = sys.modules["numpy"]
        file = io.BytesIO()
        numpy.save(file, value, allow_pickle=False)
        return {"is": "array", "blob": self.blob(file.getvalue()), "scalar": isinstance(value, numpy.generic)}

    def arrow(self, table: Any) -> int:
        pyarrow = sys.modules["pyarrow"]
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return self.blob(sink.getvalue())

    def pandas(self, value: Any, name: str) -> dict[str, Any]:
        pandas = sys.modules["pandas"]
        series = isinstance(value, pandas.Series)
        frame = value.to_frame("values" if value.name is None else value.name) if series else value
        named = not series or value.name is not None
        if "pyarrow" in self.there and importlib.util.find_spec("pyarrow") is not None:
            pyarrow = importlib.import_module("pyarrow")
            try:
                blob = self.arrow(pyarrow.Table.from_pandas(frame))
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowNotImplementedError) as error:
                raise Unfit(f"{name} has what Arrow cannot hold: {error}") from None
            return {"is": "pandas", "blob": blob, "series": series, "named": named}
        columns = [self.column(frame.iloc[:, i], f"{name}[{each!r}]") for i, each in enumerate(frame.columns)]
        return {
            "is": "columns",
            "columns": columns,
            "heads": self.index(frame.columns, f"the columns of {name}"),
            "index": self.index(frame.index, f"the index of {name}"),
            "series": series,
            "named": named,
        }

    def index(self, index: Any, name: str) -> dict[str, Any]:
        names = [self.node(each, f"the name of {name}", 1) for each in index.names]
        levels = [self.column(index.get_level_values(i).to_series(), name) for i in range(index.nlevels)]
        return {"is": "levels" if index.nlevels > 1 else "level", "levels": levels, "names": names}

    def column(self, values: Any, name: str) -> dict[str, Any]:
        """One that numpy knows, or of texts and the like, or of a kind that pandas adds."""
        pandas, kind = sys.modules["pandas"], values.dtype
        if isinstance(kind, pandas.CategoricalDtype):
            codes = self.array(values.cat.codes.to_numpy(), name)
            return {
                "is": "category",
                "codes": codes,
                "of": self.column(values.cat.categories.to_series(), name),
                "ordered": bool(kind.ordered),
            }
        if isinstance(kind, pandas.DatetimeTZDtype):
            moments = values.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
            return {"is": "zoned", "moments": self.array(moments, name), "zone": str(kind.tz)}
        if str(kind) in MASKED:
            gaps = values.isna().to_numpy()
            whole = values.fillna(False if str(kind) == "boolean" else 0).to_numpy(kind.numpy_dtype)
            arrays = {"values": self.array(whole, name), "gaps": self.array(gaps, name)}
            return {"is": "masked", "kind": str(kind), **arrays}
        if isinstance(kind, pandas.StringDtype) and kind.na_value is pandas.NA:
            texts = [None if gap else text for gap, text in zip(values.isna(), values)]  # noqa: B905  3.8
            return {"is": "texts", "items": self.node(texts, name, 1)}
        if not isinstance(kind, pandas.StringDtype) and pandas.api.types.is_extension_array_dtype(kind):
            raise Lacking(f"{name} is of type {kind}, which needs pyarrow at both ends")
        array = values.to_numpy()
        if not array.dtype.hasobject:
            return self.array(array, name)
        return self.node(array.tolist(), name, 1)


class Unpacker:
    """Makes values of nodes."""

    def __init__(self, blobs: list[memoryview], names: dict[str, Any], allow_pickle: bool) -> None:
        self.blobs, self.names, self.allow_pickle = blobs, names, allow_pickle

    def value(self, node: Any, name: str) -> Any:
        how = node["is"]
        if how == "plain":
            return node["value"]
        if how in ("list", "tuple"):
            items = [self.value(each, name) for each in node["items"]]
            return items if how == "list" else tuple(items)
        if how == "dict":
            return {key: self.value(each, name) for key, each in node["items"].items()}
        if how == "dataclass":
            return self.dataclass(node, name)
        if how == "columns":
            return self.columns(node, name)
        blob = self.blobs[node["blob"]]
        if how == "bytes":
            return bytearray(blob) if node["mutable"] else bytes(blob)
        if how == "array":
            array = self.library("numpy", name).load(io.BytesIO(blob), allow_pickle=False)
            return array[()] if node["scalar"] else array
        if how in ("arrow", "pandas"):
            table = self.library("pyarrow", name).ipc.open_stream(blob).read_all()
            return table if how == "arrow" else self.as_given(table.to_pandas(), node)
        if how == "polars":
            frame = self.library("polars", name).read_ipc(io.BytesIO(blob))
            return frame.to_series() if node["series"] else frame
        if how == "pickle" and self.allow_pickle:
            return pickle.loads(blob)  # noqa: S301  the user said so, in so many words
        raise Unfit(f"{name} came as {how!r}, which was not asked for")

    def library(self, library: str, name: str) -> Any:
        try:
            return importlib.import_module(library)
        except ImportError:
            raise Lacking(f"{name} needs {library}, which is not installed here") from None

    def as_given(self, frame: Any, node: dict[str, Any]) -> Any:
        if not node["series"]:
            return frame
        series = frame.iloc[:, 0]
        return series if node["named"] else series.rename(None)

    def columns(self, node: dict[str, Any], name: str) -> Any:
        pandas = self.library("pandas", name)
        index = self.index(node["index"], name)
        columns = [pandas.Series(self.column(each, name), index=index) for each in node["columns"]]
        frame = pandas.concat(columns, axis=1) if columns else pandas.DataFrame(index=index)
        frame.columns = self.index(node["heads"], name)
        return self.as_given(frame, node)

    def index(self, node: dict[str, Any], name: str) -> Any:
        pandas = self.library("pandas", name)
        levels = [self.column(each, name) for each in node["levels"]]
        names = [self.value(each, name) for each in node["names"]]
        if node["is"] == "level":
            return pandas.Index(levels[0], name=names[0])
        return pandas.MultiIndex.from_arrays(levels, names=names)

    def column(self, node: dict[str, Any], name: str) -> Any:
        pandas, how = self.library("pandas", name), node["is"]
        if how == "category":
            codes, of = self.value(node["codes"], name), self.column(node["of"], name)
            return pandas.Categorical.from_codes(codes, pandas.Index(of), ordered=node["ordered"])
        if how == "zoned":
            moments = pandas.DatetimeIndex(self.value(node["moments"], name))
            return moments.tz_localize("UTC").tz_convert(node["zone"])
        if how == "masked":
            values = pandas.array(self.value(node["values"], name), dtype=node["kind"])
            values[self.value(node["gaps"], name)] = pandas.NA
            return values
        if how == "texts":
            return pandas.array(self.value(node["items"], name), dtype="string")
        return self.value(node, name)

    def dataclass(self, node: dict[str, Any], name: str) -> Any:
        """Of a class that is defined, or has been imported, at this end too; its `__init__` is not called."""
        kind: Any = None
        try:
            first, *rest = node["name"].split(".")
            if node["module"] == "__main__":
                kind = self.names.get(first)
            else:
                kind = getattr(sys.modules.get(node["module"]), first, None)
            for each in rest:
                kind = getattr(kind, each)
        except AttributeError:
            kind = None
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise Lacking(f"{name} is a {node['name']}, a dataclass that is not defined where it comes to")
        made = object.__new__(kind)
        for field in dataclasses.fields(kind):
            object.__setattr__(
                made, field.name, self.value(node["fields"][field.name], f"{name}.{field.name}")
            )
        return made


def leave(
    path: str, names: list[str], namespace: dict[str, Any], there: list[str], allow_pickle: bool
) -> int:
    """Write what `dump` makes of variables to a file of this user's own; its size in bytes."""
    missing = [name for name in names if name not in namespace]
    if missing:
        raise Missing(missing[0])
    data = dump({name: namespace[name] for name in names}, there, allow_pickle)
    file = Path(path).expanduser()
    file.parent.mkdir(0o700, parents=True, exist_ok=True)
    file.touch(0o600)
    file.write_bytes(data)
    return len(data)


def take(path: str, names: dict[str, Any], allow_pickle: bool) -> list[str]:
    """Read what `dump` made from a file, which is removed, into `names`; what was read."""
    file = Path(path).expanduser()
    data = file.read_bytes()
    file.unlink()
    found = load(data, names, allow_pickle)
    names.update(found)
    return list(found)
