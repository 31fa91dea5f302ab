# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""How a derived DICOM image inherits from its source, and how it describes itself.

Attributes follow PS3.3 of the DICOM standard; whatever is not named here is the source's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DICOMSequence
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from .base import Provenance
from .dicom_header import transfer_syntax
from .dicom_kind import sop_class
from .dicom_mending import mend
from .dicom_values import series_number

__all__ = ["DEVIATION", "ENHANCED", "Derivation", "derive", "functional_groups", "remove", "uid_seed"]


HTJ2K = UID("1.2.840.10008.1.2.4.203")
"""High-throughput JPEG 2000, which pydicom 2 does not know: programs with that version import this package too."""


class Derivation(NamedTuple):
    """A way to derive a series.

    Attributes:
        title: added to the source's series description.
        number: the derived series' number is a hundred times the source's, plus this.
        sentence: what was done.
        code: likewise, for machines.
        contrast: value 4 of the frame type of enhanced CT, MR and PET images; None keeps the source's.
    """

    title: str
    number: int
    sentence: str
    code: Code
    contrast: str | None = None


# The context group of derivations, CID 7203, has no term for enhancement and may be extended.
ENHANCED = Derivation("HQG-Net enhanced", 1, "Enhanced by a neural network (HQG-Net)", codes.DCM.ArtificialIntelligence)
DEVIATION = Derivation(
    "HQG-Net standard deviation",
    2,
    "Standard deviation of repeated enhancement by a neural network (HQG-Net)",
    codes.SCT.StandardDeviation,
    "STD_DEVIATION",
)

_LOSSY_METHODS = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    HTJ2K: "ISO_15444_15",
    JPEG2000: "ISO_15444_1",
}
_DIGITS_OF_SERIES_NUMBER = 10**7  # so that a hundred times as much fits into 32 bits

# Kinds of object whose image type knows no other second value.
_ALWAYS_PRIMARY = (PositronEmissionTomographyImageStorage, NuclearMedicineImageStorage)

# True of the source's file, instance or pixels only.
_NOT_INHERITED = (
    "InstanceCreatorUID",
    "ConcatenationUID",
    "ConcatenationFrameOffsetNumber",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "SOPInstanceUIDOfConcatenationSource",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "IconImageSequence",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "SmallestImagePixelValueInPlane",
    "LargestImagePixelValueInPlane",
    "MACParametersSequence",
    "DigitalSignaturesSequence",
    "DataSetTrailingPadding",
)


def uid_seed(derivation: Derivation, provenance: Provenance) -> list[str]:
    """What, beside the source's, the identifiers of one derived series follow from; by chance where they may differ."""
    return [derivation.title, *map(str, provenance), *([] if provenance.reproducible else [generate_uid()])]


def derive(source: FileDataset, derivation: Derivation, provenance: Provenance, origin: Sequence[str]) -> None:
    """Turn the dataset of a source into that of an image derived from it, save for the pixels.

    New are the instance and the series, the image type (DERIVED; and SECONDARY, made after the examination, save in
    functional groups, PET and nuclear medicine, for which the standard knows PRIMARY only), descriptions, references to
    the source, and the equipment's contribution. Patient, study, frame of reference, acquisition, content dates (which
    put images in the order of time), private elements and everything else stay.

    Args:
        source: from :func:`scripts.io.dicom_header.read_dataset`; changed in place.
        derivation: what was done.
        provenance: by what.
        origin: from :func:`uid_seed`, the same for all files of a series.
    """
    source_class, source_instance = UID(sop_class(source) or ""), UID(source.SOPInstanceUID)
    source_series = source.get("SeriesInstanceUID") or source_instance
    _settle_encoding(source)
    for keyword in _NOT_INHERITED:
        remove(source, keyword)
    _drop_embedded_overlays(source)

    source.SOPClassUID = source_class
    source.SOPInstanceUID = generate_uid(entropy_srcs=["instance", source_instance, *origin])
    source.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(source_series), *origin])
    source.SeriesNumber = (abs(series_number(source)) % _DIGITS_OF_SERIES_NUMBER) * 100 + derivation.number
    described = "/".join(_as_list(source.get("SeriesDescription")))
    source.SeriesDescription = f"{described[: 63 - len(derivation.title)]} {derivation.title}".strip()
    now = _now(source)
    source.InstanceCreationDate, source.InstanceCreationTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    if "ContentQualification" in source:
        source.ContentQualification = "RESEARCH"

    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source_class, source_instance
    reference.SpatialLocationsPreserved = "YES"
    reference.PurposeOfReferenceCodeSequence = _coded(codes.DCM.SourceImageForImageProcessingOperation)
    sentence = _ascii(f"{derivation.sentence}; {_description(provenance)}", 1022)
    if source.get("PerFrameFunctionalGroupsSequence"):
        _set_image_type(source, "ImageType", "PRIMARY", derivation.contrast)
        _derive_groups(source, derivation, sentence, reference)
        _add_evidence(source, source_series, source_class, source_instance)
    else:
        examination = "PRIMARY" if source_class in _ALWAYS_PRIMARY else "SECONDARY"
        _set_image_type(source, "ImageType", examination, None)
        earlier = str(source.get("DerivationDescription") or "")[: 1022 - len(sentence)]
        source.DerivationDescription = f"{earlier}; {sentence}" if earlier else sentence
        source.DerivationCodeSequence = [*(source.get("DerivationCodeSequence") or []), *_coded(derivation.code)]
        source.SourceImageSequence = [reference]
    source.ContributingEquipmentSequence = [
        *(source.get("ContributingEquipmentSequence") or []),
        _contribution(sentence, provenance, now),
    ]


def _settle_encoding(source: FileDataset) -> None:
    """Have the dataset written in the default transfer syntax, and say what a lossy one has done to the pixels."""
    syntax = transfer_syntax(source)
    if syntax in _LOSSY_METHODS and not source.get("LossyImageCompression"):
        samples = int(source.get("SamplesPerPixel") or 1) * int(source.get("NumberOfFrames") or 1)
        uncompressed = source.Rows * source.Columns * samples * source.BitsAllocated / 8
        source.LossyImageCompression = "01"
        source.LossyImageCompressionRatio = DSfloat(round(uncompressed / len(source.PixelData), 2), auto_format=True)
        source.LossyImageCompressionMethod = _LOSSY_METHODS[syntax]
    mend(source)
    if syntax == ExplicitVRBigEndian:
        _swap_words(source)
    source.preamble = bytes(128)
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _swap_words(source: Dataset) -> None:
    """Turn the bytes of words in values that pydicom leaves as they were in the file."""
    sizes = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}

    def swap(_: Dataset, element: DataElement) -> None:
        if element.VR in sizes and element.value and element.tag.group != 0x7FE0:
            words = np.frombuffer(element.value, np.dtype(f"u{sizes[element.VR]}"))
            element.value = words.byteswap().tobytes()

    source.walk(swap)


def remove(dataset: Dataset, keyword: str) -> None:
    """Delete an attribute, where it is there."""
    if keyword in dataset:
        del dataset[keyword]


def _drop_embedded_overlays(source: Dataset) -> None:
    """Drop overlays that lay in unused bits of the pixels; those with data of their own stay."""
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x0010) in source and (group, 0x3000) not in source:
            for element in list(source.group_dataset(group)):
                del source[element.tag]


def _now(source: Dataset) -> datetime:
    """The time, in the zone that the dataset's times are in."""
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        return datetime.now(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
    return datetime.now().astimezone()


def _ascii(text: str, length: int) -> str:
    """Text that every character set can hold, without the backslash, which parts values."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")[:length]


def _description(provenance: Provenance) -> str:
    settings = f", {provenance.settings}" if provenance.settings else ""
    return f"{provenance.software} {provenance.version}, weights {provenance.model}{settings}"


def _coded(code: Code) -> DICOMSequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return DICOMSequence([item])


def _set_image_type(dataset: Dataset, keyword: str, examination: str, contrast: str | None) -> None:
    values = [str(value) for value in _as_list(dataset.get(keyword))]
    values[:2] = ["DERIVED", examination]
    if contrast is not None and len(values) > 3:
        values[3] = contrast
    setattr(dataset, keyword, values)


def _as_list(value: Any) -> list[Any]:
    if value in (None, ""):
        return []
    return [value] if isinstance(value, str) else list(value)


def functional_groups(source: Dataset) -> Iterator[Dataset]:
    """The functional groups of all frames together and of each frame."""
    yield from source.get("SharedFunctionalGroupsSequence") or []
    yield from source.get("PerFrameFunctionalGroupsSequence") or []


def _derive_groups(source: Dataset, derivation: Derivation, sentence: str, reference: Dataset) -> None:
    """Say in the functional groups that every frame is derived, and from which."""
    earlier: list[Dataset] = []
    for shared in source.get("SharedFunctionalGroupsSequence") or []:
        earlier += shared.get("DerivationImageSequence") or []
        remove(shared, "DerivationImageSequence")
    for number, group in enumerate(source.PerFrameFunctionalGroupsSequence, start=1):
        frame_reference = Dataset()
        frame_reference.update(reference)
        frame_reference.ReferencedFrameNumber = number
        item = Dataset()
        item.DerivationDescription = sentence
        item.DerivationCodeSequence = _coded(derivation.code)
        item.SourceImageSequence = [frame_reference]
        group.DerivationImageSequence = [*earlier, *(group.get("DerivationImageSequence") or []), item]
    for group in functional_groups(source):
        for element in group:
            for item in element.value if element.VR == "SQ" else ():
                if "FrameType" in item:
                    _set_image_type(item, "FrameType", "PRIMARY", derivation.contrast)


def _add_evidence(source: Dataset, series: str, source_class: str, source_instance: str) -> None:
    """List the source among the instances that the functional groups name as sources."""
    instance, in_series, in_study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = source_class, source_instance
    in_series.SeriesInstanceUID, in_series.ReferencedSOPSequence = series, [instance]
    in_study.StudyInstanceUID, in_study.ReferencedSeriesSequence = source.get("StudyInstanceUID"), [in_series]
    source.SourceImageEvidenceSequence = [*(source.get("SourceImageEvidenceSequence") or []), in_study]


def _contribution(sentence: str, provenance: Provenance, now: datetime) -> Dataset:
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = _coded(codes.DCM.ProcessingEquipment)
    item.Manufacturer = _ascii(provenance.software, 64)
    item.ManufacturerModelName = "HQG-Net"
    item.SoftwareVersions = [_ascii(provenance.version, 64), _ascii(f"weights {provenance.model}", 64)]
    item.ContributionDateTime = now.strftime("%Y%m%d%H%M%S%z")
    item.ContributionDescription = sentence
    return item
