# Copyright (c) 2026 The HQG-Net MONAI bundle contributors
# SPDX-License-Identifier: Apache-2.0
"""Errors of the app as answers of the server: a status and one sentence, never a bare 500."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException

from .bundle import BundleError

__all__ = ["answer_all_errors", "answered"]

logger = logging.getLogger(__name__)


@contextmanager
def answered(action: str) -> Iterator[None]:
    """Turn what goes wrong within into an answer.

    Args:
        action: what was asked for, to begin the sentence of an unexpected error.

    Raises:
        HTTPException: 404 for what is not there, 400 for a request that cannot be fulfilled, 500 for a fault of the
            server.
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


def answer_all_errors() -> None:
    """Let the running server answer what MONAI Label does not catch: parameters that are no JSON, and the rest."""
    from monailabel.app import app

    def not_json(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"The parameters of the request are no JSON: {error}."}, status_code=400)

    def fault(request: Request, error: Exception) -> JSONResponse:
        reason = (str(getattr(error, "msg", error)).strip().splitlines() or ["no reason given"])[0]
        detail = f"{request.method} {request.url.path} failed: {type(error).__name__}: {reason}"
        return JSONResponse({"detail": detail}, status_code=500)

    app.add_exception_handler(json.JSONDecodeError, not_json)
    app.add_exception_handler(Exception, fault)
    # The app of the server is made before this app, and has taken up its handlers already.
    app.middleware_stack = app.build_middleware_stack()
