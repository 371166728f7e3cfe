"""The one error of this room that people can mend."""

from vibe_assets.errors import UserError


class VlmError(UserError, RuntimeError):
    """Tags, instruction data or a fine-tuning cannot go on; the message names the setting or file and the remedy."""
