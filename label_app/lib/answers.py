# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the app as answers of the server: a status and one sentence, never a bare 500."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException

from .bundle import BundleError

__all__ = ["answered"]

logger = logging.getLogger(__name__)


@contextmanager
def answered(action: str) -> Iterator[None]:
    """Turn what goes wrong within into an answer.

    Args:
        action: what was asked for, to begin the sentence of an unexpected error.

    Raises:
        HTTPException: 404 for what is not there, 400 for a request that cannot be fulfilled, 500 for a fault of the server.
    """
    try:
        yield
    except HTTPException:
        raise
    except BundleError as error:
        raise HTTPException(status_code=400 if error.is_input else 500, detail=str(error)) from error
    except (ImageNotFoundException, LabelNotFoundException) as error:
        raise HTTPException(status_code=404, detail=error.msg) from error
    except MONAILabelException as error:
        raise HTTPException(status_code=404 if "available" in error.msg else 400, detail=error.msg) from error
    except Exception as error:
        logger.exception("%s failed", action)
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise HTTPException(status_code=500, detail=f"{action} failed: {type(error).__name__}: {reason}") from error
