"""Models: the bundled ones and the user's own."""

from chop.models.build import get_model, get_model_info
from chop.models.info import MODELS, ModelInfo

__all__ = ["MODELS", "ModelInfo", "get_model", "get_model_info"]
