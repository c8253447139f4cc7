"""What may be asked of a VM: sizes and labels that could be, on some computer like this one."""

from __future__ import annotations

from pi_v_jupyter.api.models import VMConfig
from pi_v_jupyter.local import bounds
from pi_v_jupyter.local.base import SIZES
from pi_v_jupyter.local.hardware import Size
from pi_v_jupyter.local.image import DEFAULT
from pi_v_jupyter.local.problems import NotPossibleError

_SMALLEST_MEMORY_MIB = 128
_LARGEST_DISK_MIB = 1024**2
_MOST_LABELS = 64
_LONGEST_LABEL = 256


def check_size(size: Size, smallest_disk_mib: int) -> None:
    """Refuse a machine that no computer like this could run.

    Raises:
        NotPossibleError: it cannot be.
    """
    processors = bounds.processors()
    if size.vcpus > processors:
        raise NotPossibleError(
            f"A VM of {size.vcpus} vCPUs cannot be: this computer has {processors} processors.",
            "Ask for fewer.",
        )
    if not size.memory_mib >= _SMALLEST_MEMORY_MIB:
        raise NotPossibleError(
            f"A VM of {size.memory_mib} MB cannot be.", f"It needs {_SMALLEST_MEMORY_MIB} MB at least."
        )
    if not smallest_disk_mib <= size.disk_mib <= _LARGEST_DISK_MIB:
        raise NotPossibleError(
            f"A disk of {size.disk_mib} MB cannot be.",
            f"It has {smallest_disk_mib} to {_LARGEST_DISK_MIB} MB.",
        )


def check_labels(labels: dict[str, str]) -> None:
    """Refuse labels that are too many, too long or no text.

    Raises:
        NotPossibleError: they cannot be.
    """
    if len(labels) > _MOST_LABELS:
        raise NotPossibleError(f"A VM cannot have {len(labels)} labels.", f"It has {_MOST_LABELS} at most.")
    for text in (*labels.keys(), *labels.values()):
        if len(text) > _LONGEST_LABEL:
            raise NotPossibleError(
                f"A label of {len(text)} characters cannot be.", f"It has {_LONGEST_LABEL} at most."
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise NotPossibleError("A label is no valid Unicode text.", "Send it as UTF-8.") from None


def image_of(config: VMConfig) -> str:
    """The name of the image asked for.

    Raises:
        NotPossibleError: there is none of that name on any platform like this.
    """
    name = config.image_name or DEFAULT
    if name not in SIZES:
        raise NotPossibleError(
            f"There is no image {name[:80]!r} here.", f"Images are {' and '.join(map(repr, SIZES))}."
        )
    return name


def size_of(config: VMConfig) -> Size:
    """The size asked for, or the image's usual one. A disk is never smaller than the image's.

    Raises:
        NotPossibleError: it cannot be.
    """
    usual = SIZES[image_of(config)]
    size = Size(
        vcpus=config.vcpu_count or usual.vcpus,
        memory_mib=config.mem_size_mib or usual.memory_mib,
        disk_mib=max(config.fs_size_mib or 0, usual.disk_mib),
    )
    check_size(size, usual.disk_mib)
    return size
