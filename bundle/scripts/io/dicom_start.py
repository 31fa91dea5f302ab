# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How a DICOM file begins that has no preamble, as files of old archives do."""

from __future__ import annotations

import struct

__all__ = ["LONGEST_FIRST_VALUE", "begins_without_preamble", "says_its_representation"]

LONGEST_FIRST_VALUE = 2**12
"""Bytes of the first value: a length, a character set, an image type, a UID, a date."""

_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)
_FIRST_GROUPS = (0x0002, 0x0008)


def says_its_representation(start: bytes) -> bool:
    """Tell whether bytes begin with an element of a first group in explicit VR, of either byte order."""
    if len(start) < 8 or start[4:6] not in _REPRESENTATIONS:
        return False
    return any(struct.unpack(f"{order}H", start[:2])[0] in _FIRST_GROUPS for order in "<>")


def begins_without_preamble(start: bytes) -> bool:
    """Tell whether bytes begin with an element that a dataset, or the file's meta information, may begin with.

    Args:
        start: the first eight bytes of a file, or more.
    """
    if says_its_representation(start):
        return True
    if len(start) < 8:
        return False
    group, _, length = struct.unpack("<HHI", start[:8])
    return group in _FIRST_GROUPS and length % 2 == 0 and length <= LONGEST_FIRST_VALUE
