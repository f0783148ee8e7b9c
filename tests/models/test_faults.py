"""Every way in which a wire goes wrong ends in one typed error, with what came and a next move."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from fault_server import CASES, KEY

from tframex_nb.errors import (
    AuthError,
    BadRequest,
    BadResponse,
    ConnectionFailed,
    ContextOverflow,
    ModelError,
    ModelNotFound,
    ModelTimeout,
    QuotaExceeded,
    RateLimited,
    ServerError,
    Truncated,
    UnsupportedInput,
)
from tframex_nb.http import Timeouts
from tframex_nb.models._retry import RetryPolicy

HALF = "one two "
SOON = Timeouts(connect=5, first_byte=0.15, between_chunks=0.15, run=5)
SHORT = Timeouts(connect=5, first_byte=5, between_chunks=5, run=0.3)
BASE = "part before /chat/completions"
LOG = "server's log"
AGAIN = "run it again"
MEND = "mend what the message names"


class Fault(NamedTuple):
    """What a case must end in; ``transient`` says whether a retry may help."""

    case: str
    kind: type[ModelError]
    words: str
    hint: str
    text: str = ""
    status: int | None = 200
    transient: bool = False
    timeouts: Timeouts | None = None


FAULTS = [
    # the stream breaks off
    Fault("no_finish", Truncated, "without a finish reason", "what came is kept", HALF),
    Fault("no_finish_no_done", Truncated, "without a finish reason", AGAIN, HALF),
    Fault("cut_chunk", Truncated, "incomplete chunked read", AGAIN, HALF, transient=True),
    Fault("cut_in_event", Truncated, "ended inside an event", AGAIN, HALF, transient=True),
    Fault("cut_in_utf8", Truncated, "broke the answer off", AGAIN, HALF, transient=True),
    Fault("bad_length", Truncated, "expected", AGAIN, HALF, transient=True),
    Fault("bad_chunk_size", Truncated, "illegal chunk header", AGAIN, HALF, transient=True),
    Fault("reset", Truncated, "broke the answer off", AGAIN, HALF, transient=True),
    Fault("only_role", Truncated, "without a finish reason", "may not fit the model's context"),
    # nothing, or nothing of use
    Fault("empty_stream", BadResponse, "empty body", "shorter prompt"),
    Fault("empty_body", BadResponse, "empty body", "shorter prompt"),
    Fault("status_204", BadResponse, "empty body", "shorter prompt"),
    Fault("blank_body", BadResponse, "empty body", "shorter prompt"),
    Fault("only_done", BadResponse, "without an answer", "may not fit the model's context"),
    Fault("only_comments", BadResponse, "without an answer", "may not fit the model's context"),
    Fault("no_choices", BadResponse, "without an answer", "may not fit the model's context"),
    Fault("only_choice_1", BadResponse, "without an answer", "may not fit the model's context"),
    # malformed pieces
    Fault("bad_json", BadResponse, 'no JSON: {"choices": [}', LOG, HALF),
    Fault("bad_utf8", BadResponse, "no JSON", LOG, HALF),
    Fault("json_list", BadResponse, "JSON of type list", LOG, HALF),
    Fault("json_text", BadResponse, "JSON of type str", LOG, HALF),
    Fault("json_null", BadResponse, "JSON of type NoneType", LOG, HALF),
    Fault("deep_json", BadResponse, "no JSON: [[[", LOG, HALF),
    Fault("choices_text", BadResponse, "choices is of JSON type str", LOG, HALF),
    Fault("choice_number", BadResponse, "a choice is no object", LOG, HALF),
    Fault("delta_text", BadResponse, "a delta is of JSON type str", LOG, HALF),
    Fault("content_number", BadResponse, "content is of JSON type int", LOG, HALF),
    Fault("reasoning_list", BadResponse, "reasoning is of JSON type list", LOG, HALF),
    Fault("tool_no_name", BadResponse, "a tool call has no name", LOG, HALF),
    Fault("tool_text", BadResponse, "a tool call is of JSON type str", LOG, HALF),
    Fault("tools_text", BadResponse, "tool_calls is of JSON type str", LOG, HALF),
    Fault("tool_function_text", BadResponse, "function is of JSON type str", LOG, HALF),
    Fault("utf16", BadResponse, "UTF-16", LOG),
    Fault("bad_gzip", BadResponse, "content-encoding", "switch compression off", status=None),
    Fault("unknown_encoding", BadResponse, "content-encoding nobody asked for (x-odd)", LOG),
    # not an answer at all
    Fault("html", BadResponse, "a web page, not an answer: Sign in: Hello & welcome", BASE),
    Fault("html_as_stream", BadResponse, "a web page, not an answer: proxy login", BASE),
    Fault("plain_text", BadResponse, "(text/plain): Hello from nginx", BASE),
    Fault("document_detail", BadResponse, "(application/json): not here", BASE),
    Fault("document_empty", BadResponse, "(application/json): {}", BASE),
    Fault("document_broken", BadResponse, "no event stream", BASE),
    Fault("ollama", BadResponse, "(application/x-ndjson)", "chat completions"),
    Fault("models", BadResponse, "no event stream", "chat completions"),
    # errors with status 200
    Fault("error_object", ServerError, "CUDA out of memory", LOG, HALF, 500, True),
    Fault("error_text", ServerError, "(in the stream): engine died", LOG, HALF, 200, True),
    Fault("error_old_vllm", ServerError, "engine died", LOG, HALF, 500, True),
    Fault("error_named", ServerError, "engine died", LOG, HALF, 200, True),
    Fault("error_named_text", ServerError, "engine died", LOG, HALF, 200, True),
    Fault("error_in_choice", ServerError, "engine died", "model loaded?", HALF, 502, True),
    Fault("error_after_finish", ServerError, "late", LOG, HALF, 200, True),
    Fault("error_rate", RateLimited, "slow down", AGAIN, "", 429, True),
    Fault("error_overflow", ContextOverflow, "cannot fit the prompt", "send less", "", 400),
    Fault("document_error", ServerError, "model overloaded", "model loaded?", "", 503, True),
    Fault("document_list", AuthError, "bad key", "TFRAMEX_API_KEY", "", 401),
    # waits
    Fault("stall_before_headers", ModelTimeout, "within 0.15 s (first byte)", "timeouts.first_byte",
          status=None, timeouts=SOON),
    Fault("stall_before_first_byte", ModelTimeout, "(first byte)", "timeouts.first_byte",
          status=None, timeouts=SOON),
    Fault("stall_between_chunks", ModelTimeout, "(between chunks)", "timeouts.between_chunks", HALF,
          None, timeouts=SOON),
    Fault("stall_in_event", ModelTimeout, "stopped sending", "timeouts.between_chunks", HALF,
          None, timeouts=SOON),
    Fault("endless_comments", ModelTimeout, "(first byte)", "timeouts.first_byte",
          status=None, timeouts=SOON),
    Fault("endless_comments_later", ModelTimeout, "within 0.3 s (whole run)", "timeouts.run", HALF,
          None, timeouts=SHORT),
    Fault("endless_text", ModelTimeout, "did not finish", "timeouts.run", HALF, None,
          timeouts=SHORT),
    # floods
    Fault("endless_line", BadResponse, "one event without an end", LOG, HALF),
    Fault("endless_event", BadResponse, "one event without an end", LOG, HALF),
    Fault("endless_error", ServerError, "no no no", LOG, "", 500, True),
    Fault("stalled_error", ServerError, "the disk is full", LOG, "", 500, True, SOON),
    Fault("huge_header", BadResponse, "does not speak HTTP", "is it https://?", status=None),
    # no HTTP
    Fault("hang_up", ConnectionFailed, "closed the connection", AGAIN, "", None, True),
    Fault("reset_at_once", ConnectionFailed, "closed the connection", AGAIN, "", None, True),
    Fault("no_http", BadResponse, "does not speak HTTP", "port and scheme", status=None),
    # statuses
    Fault("s400", BadRequest, "(400): temperature must be at most 2", MEND, "", 400),
    Fault("s400_context", ContextOverflow, "maximum context length", "send less", "", 400),
    Fault("s400_vllm_context", ContextOverflow, "prompt is too long", "send less", "", 400),
    Fault("s400_model", ModelNotFound, "has no model 'm' (400)", "%models", "", 400),
    Fault("s400_key", AuthError, "API key not valid", "TFRAMEX_API_KEY", "", 400),
    # what a model does not take, and what only looks like it
    *(
        Fault(name, UnsupportedInput, "does not take what goes", "-m NAME", "", int(name[8:11]))
        for name in CASES
        if name.startswith("untaken_")
    ),
    Fault("taken_format", BadRequest, "json_schema is not supported", MEND, "", 400),
    Fault("taken_tools", BadRequest, "does not support tools", MEND, "", 400),
    Fault("taken_name", ModelNotFound, "image-input-7b", "%models", "", 404),
    Fault("s401", AuthError, "refused the API key (401)", "-m demo", "", 401),
    Fault("s401_text", AuthError, "Unauthorized", "TFRAMEX_API_KEY", "", 401),
    Fault("s402", QuotaExceeded, "Insufficient Balance", "add credit", "", 402),
    Fault("s403", AuthError, "forbids the access (403)", "TFRAMEX_API_KEY", "", 403),
    Fault("s404_model", ModelNotFound, "has no model 'm' (404)", "%models lists", "", 404),
    Fault("s404_path", ModelNotFound, "has no such path (404)", BASE, "", 404),
    Fault("s404_html", ModelNotFound, "path (404): 404 Not Found: nginx", BASE, "", 404),
    Fault("s405", ModelNotFound, "has no such path (405)", BASE, "", 405),
    Fault("s407", ConnectionFailed, "the proxy wants a login", "TFRAMEX_PROXY", "", 407),
    Fault("s408", ModelTimeout, "gave up waiting", AGAIN, "", 408, True),
    Fault("s409", BadRequest, "locked", MEND, "", 409, True),
    Fault("s413", BadRequest, "too large", "send less", "", 413),
    Fault("s418", BadRequest, "(418): short and stout", MEND, "", 418),
    Fault("s422", BadRequest, "body.top_q: Extra inputs are not permitted", MEND, "", 422),
    Fault("s429", RateLimited, "Rate limit reached", "run it again in 7 s", "", 429, True),
    Fault("s429_far", RateLimited, "Rate limit reached", "in 3600 s", "", 429, True),
    Fault("s429_quota", QuotaExceeded, "the quota is spent", "another endpoint", "", 429),
    Fault("s429_gemini", RateLimited, "exceeded your current quota", "in 13 s", "", 429, True),
    Fault("s500", ServerError, "failed (500): Internal Server Error", LOG, "", 500, True),
    Fault("s500_key", AuthError, "No api key passed in", "TFRAMEX_API_KEY", "", 500),
    Fault("s500_empty", ServerError, "failed (500)", LOG, "", 500, True),
    Fault("s501", ServerError, "cannot do this (501): not built in", MEND, "", 501),
    Fault("s502", ServerError, "not ready (502): 502 Bad Gateway", "model loaded?", "", 502, True),
    Fault("s503", ServerError, "Loading model", "again in 2 s; is the model", "", 503, True),
    Fault("s504", ServerError, "upstream timed out", AGAIN, "", 504, True),
    Fault("s529", ServerError, "Overloaded", AGAIN, "", 529, True),
    Fault("s599", ServerError, "weird", LOG, "", 599, True),
    # error bodies
    Fault("error_as_sse", BadRequest, "(400): no tools here", MEND, "", 400),
    Fault("errors_list", BadRequest, "first; second", MEND, "", 400),
    Fault("error_list_text", BadRequest, "first; second", MEND, "", 400),
    Fault("error_nested", BadRequest, "(400): inner", MEND, "", 400),
    Fault("error_bare_text", BadRequest, "(400): just words", MEND, "", 400),
    Fault("error_broken_json", BadRequest, "cut he", MEND, "", 400),
    Fault("error_utf8", BadRequest, "(400): caf", MEND, "", 400),
    Fault("error_ansi", BadRequest, "(400): red and next", MEND, "", 400),
    Fault("error_huge", BadRequest, "blah blah", MEND, "", 400),
    Fault("error_echo", BadRequest, "Bearer [key]", MEND, "", 400),
    Fault("error_echo_text", AuthError, "key=[key]", "TFRAMEX_API_KEY", "", 401),
    Fault("error_echo_stream", ServerError, "upstream refused [key]", LOG, HALF, 200, True),
    Fault("echo_bad_json", BadResponse, "no JSON: {[key]", LOG, HALF),
    Fault("echo_200", BadResponse, "token [key]", BASE),
    # redirects
    Fault("to_elsewhere", BadResponse, "(307) to http://example.com:81/v1?token=…, which is another"
          " origin, so the request and the key were not sent there", "set api_url", "", 307),
    Fault("to_https", BadResponse, "(301) to https://127.0.0.1/v1/chat/completions, which is"
          " another origin", "set api_url", "", 301),
    Fault("to_get", BadResponse, "a POST does not survive", "set api_url", "", 302),
    Fault("to_nowhere", BadResponse, "redirects (307) to nowhere", "set api_url", "", 307),
    Fault("to_nonsense", BadResponse, "no HTTP URL", BASE, status=None),
    Fault("to_script", BadResponse, "no HTTP URL", BASE, status=None),
    Fault("not_modified", BadResponse, "a status that answers nothing (304)", BASE, "", 304),
    Fault("in_circles", BadResponse, "redirects in a circle", "set api_url", status=None),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.case)
def test_fault_is_one_typed_error_with_what_came_and_a_next_move(ask, fault):
    """The class, the text before it, the words, the hint, the status; one request, no retry."""
    options = {"timeouts": fault.timeouts} if fault.timeouts else {}
    outcome = ask(fault.case, **options)
    error = outcome.error
    assert type(error) is fault.kind, repr(error)
    assert outcome.text == error.received == fault.text
    assert fault.words in error.message
    assert fault.hint in error.hint
    assert error.status == fault.status
    assert error.transient is fault.transient
    assert f"/{fault.case}/v1" in error.url
    assert error.message.startswith(error.url)
    assert KEY not in str(error)
    assert error.message.isprintable()
    assert len(error.message) < 600
    assert outcome.requests == (5 if fault.case == "in_circles" else 1)


def test_every_case_of_the_fault_server_is_tested():
    """No case is defined and forgotten."""
    told = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    named = [name for name in CASES if not name.startswith("untaken_")]  # those are gone through
    assert [name for name in named if f'"{name}"' not in told] == []


def test_transient_fault_after_the_first_token_is_not_retried(ask):
    """Half an answer is never followed by another one: exactly one request."""
    outcome = ask("cut_chunk", retry=RetryPolicy(retries=5, backoff=0.001))
    assert isinstance(outcome.error, Truncated)
    assert outcome.requests == 1
    assert outcome.text == HALF


def test_stall_after_the_finish_reason_is_no_fault(ask):
    """A server that never ends its stream costs a short grace, not the answer."""
    outcome = ask("stall_after_finish", timeouts=SOON)
    assert outcome.finished.finish_reason == "stop"
    assert outcome.text == HALF
