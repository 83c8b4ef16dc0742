"""The message types that bags are read and written with."""

from __future__ import annotations

from functools import cache

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fer_perception.models.shipped import share_folder


@cache
def typestore() -> Typestore:
    """The standard types, and those of fer_msgs from its definitions.

    :raises FerError: fer_msgs is not found.
    """
    store = get_typestore(Stores.LATEST)
    for definition in sorted((share_folder("fer_msgs") / "msg").glob("*.msg")):
        store.register(get_types_from_msg(definition.read_text(encoding="utf-8"), f"fer_msgs/msg/{definition.stem}"))
    return store
