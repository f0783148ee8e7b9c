"""Names of models: what they mean, where a key goes, what the table says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
import types
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from fault_server import FaultServer

from tframex_nb.errors import AuthError, ModelNotFound, SettingsError
from tframex_nb.models import Endpoints, shared_endpoints
from tframex_nb.models._listing import listed_models
from tframex_nb.models.base import ChatModel
from tframex_nb.models.providers import PRESETS, Preset
from tframex_nb.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-the-users-own"
HELLO = [{"role": "user", "content": "hello"}]


class Server(ThreadingHTTPServer):
    """A model server on loopback that records what it was asked, and with which key."""

    daemon_threads = True

    def __init__(self, models: list[str], *, key: str = "", status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models, self.key, self.status = models, key, status
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.asked: list[str] = []
        self.before_list: Callable[[], None] = lambda: None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.before_list()
        rows = [{"id": name} for name in self.server.models]
        self._answer(json.dumps({"data": rows}).encode(), "application/json")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body["model"])
        delta = {"choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]}
        self._answer(f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")

    def _answer(self, body: bytes, kind: str) -> None:
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        wanted = f"Bearer {self.server.key}"
        refused = self.server.key and self.headers.get("authorization") != wanted
        status = 401 if refused else self.server.status
        body = b'{"error": {"message": "no"}}' if status != 200 else body
        self.send_response(status)
        self.send_header("content-type", kind if status == 200 else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve():
    """A function that starts a model server; all are closed after the test."""
    with contextlib.ExitStack() as stack:

        def start(*models: str, **options: Any) -> Server:
            server = stack.enter_context(Server(list(models), **options))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def made(tmp_path):
    """A function that makes endpoints on a folder, an environment and presets of the test."""

    def make(*, environ=None, presets=None, toml="", dotenv="") -> Endpoints:
        if toml:
            (tmp_path / "tframex.toml").write_text(toml)
        if dotenv:
            (tmp_path / ".env").write_text(dotenv)

        def load(**arguments: Any):
            return load_settings(tmp_path, environ or {}, **arguments)

        providers = {name: p for name, p in PRESETS.items() if not p.local}
        return Endpoints(load=load, presets=providers if presets is None else presets)

    return make


def local(server: Server, name: str = "ollama") -> dict[str, Preset]:
    return {name: replace(PRESETS["ollama"], name=name, url=server.base)}


def ask(endpoints: Endpoints, *specs: str | None, **options: Any) -> list[str]:
    """Ask each model once; close everything."""

    async def main() -> list[str]:
        try:
            return [await endpoints.resolve(spec, **options).run(HELLO) for spec in specs]
        finally:
            await endpoints.aclose()

    return asyncio.run(main())


def survey(endpoints: Endpoints) -> dict[str, Any]:
    async def main():
        try:
            return {row.name: row for row in await endpoints.survey()}
        finally:
            await endpoints.aclose()

    return asyncio.run(main())


def refusal(endpoints: Endpoints, spec: str | None = None, **options: Any) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        endpoints.resolve(spec, **options)
    assert KEY not in str(caught.value)
    return caught.value


def test_nothing_set_means_the_demo(made):
    endpoints = made()
    model = endpoints.resolve()
    assert model.label == "demo"
    assert isinstance(model, ChatModel)
    assert ask(endpoints, "demo:fast")[0].startswith("# Demo answer")


def test_resolving_starts_nothing(made):
    before = threading.active_count()
    assert made().resolve("demo:think").label == "demo:think"
    assert threading.active_count() == before


def test_a_model_outlives_the_closing_of_its_endpoints(made):
    """An agent keeps its model; the demo comes back when it is asked again."""
    endpoints = made()
    model = endpoints.resolve("demo:fast")

    async def main():
        first = await model.run(HELLO)
        await endpoints.aclose()
        second = await model.run(HELLO)
        await model.aclose()
        await endpoints.aclose()
        return first, second

    first, second = asyncio.run(main())
    assert first == second


def test_the_same_name_gives_the_same_model(made):
    endpoints = made(environ={"TFRAMEX_API_URL": "http://h.test", "TFRAMEX_MODEL": "m"})
    assert endpoints.resolve() is endpoints.resolve("m")
    assert endpoints.resolve("other") is not endpoints.resolve()


def test_what_is_configured_is_used_and_never_replaced(made, serve):
    server = serve("m", key=KEY)
    environ = {"TFRAMEX_API_URL": server.base, "TFRAMEX_API_KEY": KEY, "TFRAMEX_MODEL": "m"}
    assert ask(made(environ=environ), None, "other") == ["ok", "ok"]
    assert server.asked == ["m", "other"]
    broken = made(environ={"TFRAMEX_API_URL": "http://127.0.0.1:9", "TFRAMEX_MODEL": "m"})
    assert broken.resolve().label == "m"


def test_a_key_without_a_url_is_no_reason_for_the_demo(made):
    error = refusal(made(environ={"TFRAMEX_API_KEY": KEY}))
    assert error.message == "there is a key (TFRAMEX_API_KEY in the environment) and no URL for it"
    assert "-m demo" in error.hint


def test_a_model_without_an_endpoint_is_no_reason_for_the_demo(made):
    error = refusal(made(environ={"TFRAMEX_MODEL": "qwen3:8b"}))
    assert error.message == "no endpoint is set for the model 'qwen3:8b'"
    assert error.hint.startswith("set TFRAMEX_API_URL, or write ENDPOINT:MODEL")
    assert "did you mean 'openai'?" in refusal(made(), "openia:gpt").hint


def test_openais_key_makes_openai_ready_and_not_the_default(made):
    endpoints = made(environ={"OPENAI_API_KEY": KEY})
    assert endpoints.resolve().label == "demo"
    assert endpoints.resolve("openai:gpt-5").api_url == "https://api.openai.com/v1"
    assert endpoints.resolve("gpt-5").label == "openai:gpt-5"
    configured = made(environ={"OPENAI_API_KEY": KEY, "TFRAMEX_MODEL": "gpt-5"})
    assert configured.resolve().label == "openai:gpt-5"


def test_a_model_setting_may_name_its_endpoint(made):
    toml = 'model = "team:gpt"\n[endpoints.team]\nurl = "http://team.test"'
    assert made(toml=toml).resolve().label == "team:gpt"
    assert made(toml='model = "demo:fast"').resolve().label == "demo:fast"


def test_a_prefix_that_is_no_endpoint_belongs_to_the_model(made, serve):
    server = serve()
    endpoints = made(environ={"TFRAMEX_API_URL": server.base})
    ask(endpoints, "qwen3:8b", "hf.co/a/b:Q4", "mistral:7b")
    assert server.asked == ["qwen3:8b", "hf.co/a/b:Q4", "mistral:7b"]


def test_a_provider_without_a_key_says_how_to_get_one(made):
    error = refusal(made(), "openai:gpt-5")
    assert error.message == "openai needs an API key"
    assert error.hint.startswith("%models connect openai, or set OPENAI_API_KEY (keys: https://")
    assert error.hint.endswith("no key yet? use -m demo")


def test_the_only_model_is_used_where_none_is_named(made, serve):
    server = serve("only-one")
    endpoints = made(environ={"TFRAMEX_API_URL": server.base})
    assert ask(endpoints, None) == ["ok"]
    assert server.asked == ["only-one"]


def test_calls_at_the_same_time_may_ask_for_the_only_model(made, serve):
    """The first to know its name does not cut the others off."""
    server = serve("only")
    lists = iter((0.0, 0.2, 0.2))
    server.before_list = lambda: time.sleep(next(lists))  # the server thinks, the test does not
    endpoints = made(environ={"TFRAMEX_API_URL": server.base})

    async def main():
        model = endpoints.resolve()
        answers = await asyncio.gather(*(model.run(HELLO) for _ in range(3)))
        await endpoints.aclose()
        return answers

    assert asyncio.run(main()) == ["ok"] * 3


def test_a_model_that_nobody_named_is_asked_for_again_once_it_is_gone(made, serve):
    server = serve("old")
    endpoints = made(environ={"TFRAMEX_API_URL": server.base})

    async def main():
        model = endpoints.resolve()
        await model.run(HELLO)
        server.models, server.status = ["new"], 404
        with pytest.raises(ModelNotFound):
            await model.run(HELLO)
        server.status = 200
        await model.run(HELLO)
        await endpoints.aclose()

    asyncio.run(main())
    assert server.asked == ["old", "old", "new"]


def test_of_several_models_one_must_be_named(made, serve):
    toml = f'[endpoints.team]\nurl = "{serve("a", "b").base}"'
    with pytest.raises(SettingsError) as caught:
        ask(made(toml=toml), "team")
    assert caught.value.message == "team has 2 models and none is chosen"
    assert caught.value.hint == ("choose one with -m team:a, or set TFRAMEX_MODEL; it has: a, b")


def test_an_endpoint_without_models_says_so(made, serve):
    with pytest.raises(SettingsError, match="has no model loaded"):
        ask(made(environ={"TFRAMEX_API_URL": serve().base}), None)


def test_an_api_url_for_one_call(made, serve):
    server = serve("x")
    endpoints = made()
    assert ask(endpoints, "x", api_url=server.base.removesuffix("/v1")) == ["ok"]
    assert server.seen[0][0] == "/v1/chat/completions"


def test_a_pairs_key_stays_at_home_and_a_401_says_why(made, serve):
    other = serve("x", key="another")
    environ = {"TFRAMEX_API_URL": "https://mine.test", "TFRAMEX_API_KEY": KEY}
    with pytest.raises(AuthError) as caught:
        ask(made(environ=environ), "x", api_url=other.base)
    assert "belongs to https://mine.test and is not sent" in caught.value.hint
    assert KEY not in str(caught.value)
    assert all("authorization" not in headers for _, headers in other.seen)


def test_a_refused_key_of_a_named_endpoint_names_that_endpoint(made, serve):
    """TFRAMEX_API_KEY is the default endpoint's: it would change nothing here."""
    server = serve("m", key=KEY)
    with pytest.raises(AuthError) as caught:
        ask(made(toml=f'[endpoints.team]\nurl = "{server.base}"\n'), "team:m")
    assert caught.value.hint == (
        "no API key was sent: %models connect team, or set its key; no key yet? use -m demo"
    )


def test_a_found_server_is_used_only_after_it_was_chosen(made, serve):
    server = serve("qwen3:8b")
    endpoints = made(presets=local(server), environ={"OPENAI_API_KEY": KEY})
    error = refusal(endpoints, "ollama:qwen3:8b")
    assert "its port may be a neighbour's" in error.message
    assert error.hint == "%models use ollama"
    assert endpoints.resolve().label == "demo"
    endpoints.use("ollama:qwen3:8b")
    assert endpoints.resolve().label == "ollama:qwen3:8b"
    assert ask(endpoints, None, "llama3:8b", "ollama:other") == ["ok"] * 3
    assert server.asked == ["qwen3:8b", "llama3:8b", "other"]
    assert all("authorization" not in headers for _, headers in server.seen)


def test_a_choice_can_be_taken_back(made):
    endpoints = made(environ={"TFRAMEX_API_URL": "http://h.test", "TFRAMEX_MODEL": "m"})
    endpoints.use("demo:fast")
    assert endpoints.resolve().label == "demo:fast"
    endpoints.use("")
    assert endpoints.resolve().label == "m"


def test_an_unusable_choice_changes_nothing(made):
    endpoints = made()
    with pytest.raises(SettingsError, match="openai needs an API key"):
        endpoints.use("openai:gpt-5")
    assert endpoints.resolve().label == "demo"


def test_a_typed_key_is_kept_in_memory_for_its_url(made, serve):
    server = serve("m", key=KEY)
    endpoints = made()
    name = endpoints.connect(server.base, KEY)
    assert name == f"127.0.0.1:{server.server_port}"
    assert ask(endpoints, f"{name}:m", f"{server.base}:m") == ["ok", "ok"]
    assert KEY not in repr(endpoints)
    assert name in endpoints.names()


def test_it_is_known_where_a_typed_key_will_go(made):
    """So that a person sees it before typing: a folder's file may have named the endpoint."""
    endpoints = made(toml='[endpoints.team]\nurl = "http://elsewhere.test"')
    assert endpoints.url_of("team") == "http://elsewhere.test/v1"
    assert endpoints.url_of("openai") == PRESETS["openai"].url
    assert endpoints.url_of("https://host/v1/chat/completions") == "https://host/v1"
    with pytest.raises(SettingsError, match="no endpoint 'nobody' is known"):
        endpoints.url_of("nobody")


def test_a_typed_key_of_a_named_endpoint_does_not_move_with_its_url(made, serve, tmp_path):
    server, evil = serve("m", key=KEY), serve("m")
    endpoints = made(toml=f'[endpoints.team]\nurl = "{server.base}"')
    assert endpoints.connect("team", KEY) == "team"
    (tmp_path / "tframex.toml").write_text(f'[endpoints.team]\nurl = "{evil.base}"')
    assert ask(endpoints, "team:m") == ["ok"]
    assert evil.seen == []


def test_connecting_is_refused_where_a_folder_stands_between(made):
    endpoints = made(toml='proxy = "http://evil.test"')
    with pytest.raises(SettingsError, match="may not stand between"):
        endpoints.connect("openai", KEY)


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("openai", "", "no key was given for openai"),
        ("openai", f"Bearer {KEY}", "holds spaces or letters that no API key has"),
        ("opnai", KEY, "no endpoint 'opnai' is known"),
        ("ftp://x", KEY, "the URL is not valid: it must begin with http://"),
        (f"http://u:{KEY}@h.test", KEY, "it must hold no user or password"),
    ],
)
def test_what_cannot_be_connected_says_why(made, name, key, message):
    with pytest.raises(SettingsError) as caught:
        made().connect(name, key)
    assert message in caught.value.message
    assert caught.value.hint
    assert KEY not in str(caught.value)


def test_a_connected_provider_can_be_used(made):
    endpoints = made()
    assert endpoints.connect("Anthropic", KEY) == "anthropic"
    assert endpoints.resolve("anthropic:claude").api_url == "https://api.anthropic.com/v1"
    assert "prompt caching" in endpoints.lost("anthropic")


SHADOWS = {
    "openai": '[endpoints.openai]\nurl = "{url}"',
    "openai with a key": '[endpoints.openai]\nurl = "{url}"\napi_key = "x"',
    "OpenAI": '[endpoints.OpenAI]\nurl = "{url}"',
}


@pytest.mark.parametrize("toml", SHADOWS.values(), ids=SHADOWS)
def test_a_folder_cannot_take_a_providers_name(made, serve, toml):
    """Neither the key nor the prompt goes there."""
    evil = serve("gpt")
    endpoints = made(toml=toml.format(url=evil.base), environ={"OPENAI_API_KEY": KEY})
    error = refusal(endpoints, "openai:gpt")
    assert "gives a provider's name to another URL: openai means https://api.openai.com/v1" in (
        error.message
    )
    assert error.hint == "give that endpoint another name"
    assert survey(endpoints)["openai"].state.startswith("refused: ")
    assert evil.seen == []


def test_a_folder_cannot_take_the_demos_name(made, serve):
    evil = serve("demo")
    endpoints = made(toml=f'[endpoints.demo]\nurl = "{evil.base}"')
    assert ask(endpoints, "demo:fast")[0].startswith("# Demo answer")
    assert evil.asked == []


def test_the_environment_may_give_a_providers_name_another_url(made, serve):
    gateway = serve("gpt", key="gateway-key")
    environ = {
        "OPENAI_API_KEY": KEY,
        "TFRAMEX_ENDPOINTS__OPENAI__URL": gateway.base,
        "TFRAMEX_ENDPOINTS__OPENAI__API_KEY": "gateway-key",
    }
    assert ask(made(environ=environ), "openai:gpt") == ["ok"]


def test_a_preset_may_get_a_model_from_the_folder(made):
    endpoints = made(toml='[endpoints.openai]\nmodel = "gpt-5"', environ={"OPENAI_API_KEY": KEY})
    assert endpoints.resolve("openai").label == "openai:gpt-5"


def test_a_redirected_default_names_both_places(made):
    endpoints = made(toml='api_url = "http://evil.test"', environ={"TFRAMEX_API_KEY": KEY})
    error = refusal(endpoints)
    assert "may not receive the key from TFRAMEX_API_KEY in the environment" in error.message
    assert endpoints.resolve("demo").label == "demo"


def test_a_changed_dotenv_counts_without_a_restart(made, serve, tmp_path):
    first, second = serve("m"), serve("m")
    endpoints = made(dotenv=f"TFRAMEX_API_URL={first.base}\nTFRAMEX_MODEL=m\n")

    async def main():
        await endpoints.resolve().run(HELLO)
        (tmp_path / ".env").write_text(f"TFRAMEX_API_URL={second.base}\nTFRAMEX_MODEL=m\n")
        await endpoints.resolve().run(HELLO)
        await endpoints.aclose()

    asyncio.run(main())
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_a_changed_dotenv_closes_the_connections_of_before(made, tmp_path):
    """A run that still streams there goes on to its end first."""
    template = "TFRAMEX_API_URL={}\nTFRAMEX_MODEL={}\n"

    async def main():
        async with FaultServer() as server:
            endpoints = made(dotenv=template.format(server.url("slow"), "first"))
            late = endpoints.resolve().call_stream(HELLO)
            begun = await anext(late)
            (tmp_path / ".env").write_text(template.format(server.url("plain"), "second"))
            await endpoints.resolve().run(HELLO)
            server.go_on.set()
            text = begun + "".join([piece async for piece in late])
            del late
            first, second = server.requests
            await asyncio.wait_for(first.closed.wait(), 2)
            assert not second.closed.is_set()
            await endpoints.aclose()
            return text, first.body["model"], second.body["model"]

    assert asyncio.run(main()) == ("one two ", "first", "second")


def test_the_table_says_what_answers_and_why_the_rest_does_not(made, serve):
    good, closed, broken = serve("a", "b"), serve("m", key=KEY), serve("m", status=500)
    toml = f"""
        [endpoints.good]
        url = "{good.base}"
        [endpoints.closed]
        url = "{closed.base}"
        [endpoints.keyed]
        url = "{closed.base}/x"
        api_key = "k"
        [endpoints.broken]
        url = "{broken.base}"
        [endpoints.nobody]
        url = "http://127.0.0.1:9"
        [endpoints.nowhere]
        model = "m"
    """
    found = serve("qwen3:8b")
    presets = {**local(found), "openai": PRESETS["openai"]}
    rows = survey(made(toml=toml, presets=presets))
    assert rows["good"].models == ("a", "b")
    states = {name: (row.kind, row.state, row.next) for name, row in rows.items()}
    assert states.pop("nobody")[1] == "nothing answers"
    assert states.pop("broken")[:2] == ("configured", "answers 500")
    assert states.pop("nowhere")[1] == "refused: the endpoint 'nowhere' has no url"
    assert states == {
        "good": ("configured", "ready", "-m good:a"),
        "closed": ("configured", "wants a key", "%models connect closed, or set its key"),
        "keyed": ("configured", "ready (its key was not tried)", "-m keyed:MODEL"),
        "ollama": ("found", "ready", "%models use ollama:qwen3:8b"),
        "demo": ("demo", "ready", "in use"),
        "openai": ("preset", "needs a key", "%models connect openai"),
    }
    everyone = [*good.seen, *closed.seen, *found.seen]
    assert len(everyone) == 4
    assert all("authorization" not in headers for _, headers in everyone)


def test_the_table_is_bounded_in_time(made):
    """A port that accepts and never answers costs one probe, whatever their number."""
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        presets = {
            f"s{n}": Preset(f"s{n}", f"http://127.0.0.1:{s.getsockname()[1]}/v1", local=True)
            for n, s in enumerate(silent)
        }
        rows = survey(made(presets=presets))
    assert {rows[f"s{n}"].state for n in range(5)} == {"no answer in time"}


def test_many_endpoints_with_tls_do_not_stretch_the_bound(made):
    """Certificates are loaded once, before the clock of the probes runs."""
    toml = "".join(f"[endpoints.e{n}]\nurl = 'https://127.0.0.1:9/{n}'\n" for n in range(40))
    rows = survey(made(toml=toml))
    assert {rows[f"e{n}"].state for n in range(40)} == {"nothing answers"}


@pytest.mark.parametrize(
    "models", [["ev\x1b[31mil\n", "x" * 500], [{"a": 1}], [None]], ids=["text", "object", "null"]
)
def test_a_neighbours_list_cannot_harm_the_table(made, serve, models):
    rows = survey(made(presets=local(serve(*models))))
    assert all(name.isprintable() and len(name) <= 120 for name in rows["ollama"].models)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "b"}, {"id": "a"}]}, ["a", "b"]),
        ({"models": [{"name": "a"}]}, ["a"]),
        ([{"id": "a"}], ["a"]),
        ({"object": "list", "data": None}, []),
        ({"error": "no"}, None),
        ("text", None),
    ],
    ids=["openai", "ollama", "together", "none loaded", "error", "text"],
)
def test_lists_of_models_come_in_several_shapes(body, names):
    """The table and the model read them alike."""
    assert listed_models(json.dumps(body).encode()) == names


def test_discovery_can_be_switched_off(made, serve):
    server = serve("m")
    rows = survey(made(presets=local(server), environ={"TFRAMEX_DISCOVER": "false"}))
    assert "ollama" not in rows
    assert server.seen == []


def test_names_for_completion_need_no_network(made, serve):
    server = serve("qwen3:8b")
    endpoints = made(
        presets={**local(server), "openai": PRESETS["openai"]},
        toml='[endpoints.team]\nurl = "http://t.test"\nmodel = "gpt"',
        environ={"OPENAI_API_KEY": KEY},
    )
    names = endpoints.names()
    assert names[:2] == ["team:gpt", "openai"]
    assert "demo:slow" in names
    assert server.seen == []
    survey(endpoints)
    assert "ollama:qwen3:8b" in endpoints.names()


def test_completion_survives_invalid_settings(made):
    assert made(environ={"TFRAMEX_NOPE": "1"}).names()[0] == "demo"


class Ring(types.ModuleType):
    """A keyring that keeps keys in a dict: the real package's calls and errors."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}
        self.errors = types.ModuleType("keyring.errors")
        self.errors.KeyringError = type("KeyringError", (Exception,), {})

    def set_password(self, service: str, account: str, key: str) -> None:
        self.kept[service, account] = key

    def get_password(self, service: str, account: str) -> str | None:
        return self.kept.get((service, account))


@pytest.fixture
def ring(monkeypatch):
    ring = Ring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", ring.errors)
    return ring


def test_the_keyring_keeps_a_key_for_its_origin(made, serve, ring):
    server, evil = serve("m", key=KEY), serve("m")
    made(environ={"TFRAMEX_KEYRING": "1"}).connect(server.base, KEY)
    assert ring.kept == {("tframex-nb", f"http://127.0.0.1:{server.server_port}"): KEY}
    toml = (
        f'keyring = true\n[endpoints.a]\nurl = "{server.base}"\n[endpoints.b]\nurl = "{evil.base}"'
    )
    assert ask(made(toml=toml), "a:m", "b:m") == ["ok", "ok"]
    assert "authorization" not in evil.seen[0][1]


def test_the_keyring_is_left_alone_unless_wanted(made, ring):
    made().connect("openai", KEY)
    assert ring.kept == {}


def test_a_missing_keyring_says_how_to_install_it(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setitem(sys.modules, "keyring.errors", None)
    with pytest.raises(SettingsError) as caught:
        made(environ={"TFRAMEX_KEYRING": "1"}).connect("openai", KEY)
    assert caught.value.hint == "pip install 'tframex-nb[keyring]'"


def test_a_process_has_one_set_of_endpoints():
    assert shared_endpoints() is shared_endpoints()


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_are_complete(preset):
    assert preset.url.startswith("http://127.0.0.1:" if preset.local else "https://")
    assert preset.local or (preset.keys and preset.console and preset.lost)
