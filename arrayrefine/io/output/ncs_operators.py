"""Operators of copies that were kept the same, in the header of what is written."""

from __future__ import annotations

import dataclasses

import gemmi
from gemmi import cif

from arrayrefine.io.documents import copied
from arrayrefine.io.models.reading import Model
from arrayrefine.strict_ncs.copies import Motions


def with_operators(model: Model, names: tuple[str, ...], motions: Motions) -> Model:
    """The model with MTRIX, or `_struct_ncs_oper`, of its copies.

    As "given": their atoms are written, and no reader is to make them again.

    Parameters
    ----------
    model : Model
    names : tuple of K str
        Which chains each operator takes to which.
    motions : Motions
    """
    if not names:
        return model
    structure = model.structure.clone()
    operators = [gemmi.NcsOp(gemmi.Transform(), "1", True)]
    for k, (rotation, shift) in enumerate(zip(motions.rotation, motions.shift)):
        transform = gemmi.Transform(gemmi.Mat33(rotation.tolist()), gemmi.Vec3(*shift))
        operators.append(gemmi.NcsOp(transform, str(k + 2), True))
    structure.ncs = gemmi.NcsOpList(operators)
    document = model.document
    if document is not None:
        document, block = copied(document)
        groups = gemmi.MmcifOutputGroups(False)
        groups.ncs = True
        structure.update_mmcif_block(block, groups)
        details = [cif.quote("identity"), *(cif.quote(name) for name in names)]
        table = block.find_mmcif_category("_struct_ncs_oper.")
        table.loop.add_columns(["_struct_ncs_oper.details"], value="?")
        for row, text in zip(block.find("_struct_ncs_oper.", ["details"]), details):
            row[0] = text
    return dataclasses.replace(model, structure=structure, document=document)
