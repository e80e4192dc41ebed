"""Make `items.json`, the part of the PDBx/mmCIF dictionary that `refined.cif` is checked against.

    python tests/pdbx/extract.py mmcif_pdbx.dic

The dictionary is that of the wwPDB; Debian's package libcifpp-data has a copy. Only facts are taken: the type of each
item, the values and ranges allowed, which items are mandatory, and what the types look like.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gemmi import cif

CATEGORIES = (
    "refine", "refine_analyze", "refine_hist", "refine_ls_restr", "refine_ls_shell", "software", "reflns",
    "pdbx_refine_tls", "pdbx_refine_tls_group", "refine_ls_restr_ncs", "struct_ncs_dom",
    "struct_ncs_dom_lim", "struct_ncs_ens", "exptl", "exptl_crystal", "diffrn",
)  # fmt: skip
# In the dictionary of today, not yet in that of 2023; gemmi writes and reads them.
NEWER = {
    "_refine_ls_shell.correlation_coeff_Fo_to_Fc": {"type": "float"},
    "_refine_ls_shell.correlation_coeff_Fo_to_Fc_free": {"type": "float"},
}


def extract(block: cif.Block) -> dict[str, Any]:
    """Return version, types and items of a dictionary."""
    items: dict[str, Any] = dict(NEWER)
    for frame in (item.frame for item in block if item.frame is not None):
        category, _, name = frame.name[1:].partition(".")
        if not name or category not in CATEGORIES:
            continue
        found: dict[str, Any] = {"type": _values(frame, "_item_type.code")[:1]}
        found["type"] = found["type"][0] if found["type"] else None
        if _values(frame, "_item_enumeration.value"):
            found["values"] = _values(frame, "_item_enumeration.value")
        if frame.find_values("_item_range.minimum"):
            low, high = _values(frame, "_item_range.minimum"), _values(frame, "_item_range.maximum")
            found["range"] = sorted({(a or "-inf", b or "inf") for a, b in zip(low, high)})
        if "yes" in _values(frame, "_item.mandatory_code"):
            found["mandatory"] = True
        items[frame.name] = found
    used = {item["type"] for item in items.values()}
    codes = block.find("_item_type_list.", ["code", "construct"])
    types = {cif.as_string(code): "".join(cif.as_string(regex).split("\n")) for code, regex in codes}
    return {
        "version": cif.as_string(block.find_value("_dictionary.version")),
        "types": {code: regex for code, regex in types.items() if code in used},
        "items": dict(sorted(items.items())),
    }


def _values(frame: cif.Block, tag: str) -> list[str]:
    return [cif.as_string(value) for value in frame.find_values(tag)]


if __name__ == "__main__":
    content = extract(cif.read(sys.argv[1]).sole_block())
    lines = [f"  {json.dumps(name)}: {json.dumps(item)}" for name, item in content["items"].items()]
    head = json.dumps({"version": content["version"], "types": content["types"]}, indent=1)[:-2]
    Path(__file__).with_name("items.json").write_text(head + ',\n "items": {\n' + ",\n".join(lines) + "\n }\n}\n")
