"""Named prompts and system prompts kept by the operator."""

from plugins.prompt_template.plugin import PromptTemplate

__all__ = ["PromptTemplate"]
