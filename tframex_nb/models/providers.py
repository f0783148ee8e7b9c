"""Providers with an OpenAI-compatible URL: where they are, and what that layer loses.

Each ``lost`` says what the provider's own documentation says about the layer; it is shown when a
person connects. What no document says is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider, or one server that people run on their own machine.

    ``keys`` are the environment variables that hold a key for it, ``console`` is where a person
    gets one. A local server needs none. ``also_model`` marks a name that models have too.
    """

    name: str
    url: str
    keys: tuple[str, ...] = ()
    console: str = ""
    lost: str = ""
    local: bool = False
    also_model: bool = False

    @property
    def how_to_connect(self) -> str:
        """The next move of a person who has no key set."""
        variables = " or ".join(self.keys)
        return (
            f"%models connect {self.name}, or set {variables} (keys: {self.console}); "
            "no key yet? use -m demo"
        )


_ALL = (
    Preset(
        "openai",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        "https://platform.openai.com/api-keys",
        # https://developers.openai.com/blog/responses-api
        "Chat Completions is used, not the Responses API: reasoning is not shown nor kept between "
        "turns, and the hosted tools (file search, code interpreter) are not there",
    ),
    Preset(
        "anthropic",
        "https://api.anthropic.com/v1",
        ("ANTHROPIC_API_KEY",),
        "https://console.anthropic.com/settings/keys",
        # https://docs.anthropic.com/en/api/openai-sdk
        "prompt caching, PDFs, citations and the text of the thinking; strict tool schemas are "
        "not enforced; system messages are joined at the start; unsupported fields are ignored",
    ),
    Preset(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "https://aistudio.google.com/apikey",
        # https://ai.google.dev/gemini-api/docs/openai
        "the layer is in beta; what only Gemini has (context caching, thinking settings) goes "
        "through extra fields",
    ),
    Preset(
        "openrouter",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        "https://openrouter.ai/settings/keys",
        "which company runs the model is OpenRouter's choice unless the request's provider "
        "field says so",
    ),
    Preset(
        "groq",
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        "https://console.groq.com/keys",
        # https://console.groq.com/docs/openai
        "logprobs, logit_bias, top_logprobs and the name of a message are refused with 400; "
        "n must be 1",
    ),
    Preset(
        "mistral",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        "https://console.mistral.ai/api-keys",
        "a seed is called random_seed here",
        also_model=True,
    ),
    Preset(
        "deepseek",
        "https://api.deepseek.com/v1",
        ("DEEPSEEK_API_KEY",),
        "https://platform.deepseek.com/api_keys",
        # https://api-docs.deepseek.com/guides/thinking_mode
        "thinking models want their reasoning sent back after a tool call, which is not done "
        "here: use tools with thinking switched off",
    ),
    Preset(
        "together",
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY",),
        "https://api.together.ai/settings/api-keys",
        # https://docs.together.ai/docs/inference/openai-compatibility
        "models are named maker/model; OpenAI's own names give 404",
    ),
    Preset(
        "xai",
        "https://api.x.ai/v1",
        ("XAI_API_KEY",),
        "https://console.x.ai",
        # https://docs.x.ai/developers/model-capabilities/text/comparison
        "Chat Completions is xAI's legacy API: no reasoning comes back, and of tools only "
        "function calls",
    ),
    Preset(
        "ollama",
        "http://127.0.0.1:11434/v1",
        # https://docs.ollama.com/api/openai-compatibility
        lost="a subset of OpenAI's API; the size of the context is set in Ollama, not per request",
        local=True,
    ),
    Preset("vllm", "http://127.0.0.1:8000/v1", local=True),
    Preset("lmstudio", "http://127.0.0.1:1234/v1", local=True),
    Preset("llamacpp", "http://127.0.0.1:8080/v1", local=True),
)

PRESETS = {preset.name: preset for preset in _ALL}
