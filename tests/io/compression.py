# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""DICOM files whose pixels are compressed, most of them by GDCM."""

from __future__ import annotations

import base64
from pathlib import Path

import gdcm

# texture(24, 24)[:8, :8], encoded as high-throughput JPEG 2000 by OpenJPH.
HIGH_THROUGHPUT = base64.b85decode(
    "|4;u>04YEK0000800008000000000000008000080000000000009pH0sl|{2mk^A000XAQUDA90ssL31q1{@0smY86Cj9?kdTm&kdTm&kdTmwh=~"
    "7W02crOPjF>!N>E53R%LP^FfKASE;BCwkN^q*00000fB*silfVEbary-ZbN~PVzyK1!0206e5`b(0hjajN0f%$|p#cYU0Kfnh5C8>400B4z3Xb>y"
    "LX-doItlRrL6iW2AQS*2lmNg0E1&=s&;SX*00JSn0*#U9L?;NNmH+^V1VOMwlt3U<G}o5^7|;oAwWR?6*#"
)


def compress(plain: Path, packed: Path, process: str) -> None:
    """Write a DICOM file once more in another transfer syntax, by its name in GDCM's ``TransferSyntax``."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(packed))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
