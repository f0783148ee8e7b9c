"""The file of a cassette: whole or refused, safe for two writers, without a secret in it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from scripted_server import Say, ScriptedServer

from tframex_nb.errors import AuthError, SettingsError
from tframex_nb.models import RetryPolicy, VLLMModel
from tframex_nb.models.cassette import Cassette, Cassettes
from tframex_nb.models.cassette.masking import Mask

if TYPE_CHECKING:
    from pathlib import Path

# Records PROMPTS, one by one, as a kernel of its own would.
RECORDER = """
import asyncio, sys
from tframex_nb.models import VLLMModel
from tframex_nb.models.cassette import Cassettes

async def main(url, folder, *prompts):
    cassettes = Cassettes()
    cassettes.use("record", folder=folder, name="both")
    model = VLLMModel("m", url)
    for prompt in prompts:
        await cassettes.model(model).run([{"role": "user", "content": prompt}])
    await model.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def server():
    server = ScriptedServer()
    server.answer = lambda request: Say(f"to {request.texts[-1]}")
    server.start()
    yield server
    server.close()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "test.ndjson"


def use(path, mode="record") -> Cassettes:
    cassettes = Cassettes()
    cassettes.use(mode, folder=path.parent, name=path.stem)
    return cassettes


def ask(cassettes, server, *prompts, key="", url="", **params) -> list[str]:
    async def main():
        model = VLLMModel("m", url or server.url, key, retry=RetryPolicy(retries=0))
        taped = cassettes.model(model)
        texts = []
        try:
            for prompt in prompts:
                messages = [{"role": "user", "content": prompt}]
                pieces = [text async for text in taped.call_stream(messages, **params)]
                texts.append("".join(pieces))
        finally:
            await model.aclose()
        return texts

    return asyncio.run(main())


@pytest.fixture
def recorded(server, path) -> Path:
    ask(use(path), server, "c", "a", "b")
    return path


def test_recordings_are_sorted_so_that_the_order_of_runs_makes_no_diff(server, tmp_path):
    one, two = tmp_path / "one.ndjson", tmp_path / "two.ndjson"
    ask(use(one), server, "a", "b", "c")
    ask(use(two), server, "c", "a", "b")

    def lines(path):
        objects = [json.loads(line) for line in path.read_bytes().splitlines()]
        return [{k: v for k, v in data.items() if k != "pauses"} for data in objects]

    assert lines(one) == lines(two)


def test_a_changed_prompt_changes_its_own_line_only(server, recorded):
    before = recorded.read_bytes().splitlines()
    ask(use(recorded), server, "d")
    after = recorded.read_bytes().splitlines()
    assert [line for line in after if line not in before] == [after[-2]]
    assert json.loads(after[-2])["asked"] == "d"
    assert [line for line in before if line not in after] == []


def test_an_equal_answer_recorded_anew_changes_nothing(server, recorded):
    before = recorded.read_bytes()
    gate = threading.Event()
    threading.Timer(0.1, gate.set).start()
    server.answer = lambda request: Say(f"to {request.texts[-1]}", gate=gate)
    ask(use(recorded), server, "a")
    assert recorded.read_bytes() == before


def test_a_file_cut_at_any_byte_is_recovered_line_by_line_or_refused(server, recorded):
    """What is read of it is whole recordings, the first ones, and it is said to be cut."""
    whole = recorded.read_bytes()
    complete = Cassette(recorded).recordings
    for size in range(len(whole)):
        recorded.write_bytes(whole[:size])
        cassette = Cassette(recorded)
        found = cassette.recordings
        assert found == complete[: len(found)]
        assert len(found) >= whole[:size].count(b"\n") - 1
        if size < len(whole) - 1:  # the very last byte ends the last line, which is whole
            assert "was cut" in cassette.note, size


def test_a_cut_cassette_is_told_and_made_whole_by_the_next_recording(server, recorded):
    whole = recorded.read_bytes()
    recorded.write_bytes(whole[: len(whole) * 2 // 3])
    replaying = use(recorded, "replay")
    assert ask(replaying, server, "a") == ["to a"]
    assert "was cut" in replaying.current.note
    ask(use(recorded), server, "c")
    healed = Cassette(recorded)
    assert [r.asked.title for r in healed.recordings][:1] == ["a"]
    assert healed.note == ""


@pytest.mark.parametrize(
    ("line", "text", "why"),
    [
        (2, "<<<<<<< HEAD", "Expecting value"),
        (3, '{"asked": "b"}', "'endpoint' is missing"),
        (3, '["asked"]', "not an object"),
        (2, '{"endpoint": 1, "model": "m", "n": 1}', "a name is text"),
        (2, "\0\0\0", "Expecting value"),
        (1, "not json", "Expecting value"),
    ],
    ids=["conflict", "half", "list", "types", "zeros", "head"],
)
def test_a_broken_line_is_refused_by_its_number(server, recorded, line, text, why):
    lines = recorded.read_text().split("\n")
    lines[line - 1] = text
    recorded.write_text("\n".join(lines))
    with pytest.raises(SettingsError, match=f"line {line} is no recording") as caught:
        ask(use(recorded, "replay"), server, "a")
    assert why in caught.value.message
    asked = len(server.requests)
    with pytest.raises(SettingsError):
        ask(use(recorded, "record"), server, "a")
    assert len(server.requests) == asked, "nothing is asked that could not be kept"


def test_an_unknown_version_is_refused_with_a_hint(server, recorded):
    text = recorded.read_text()
    recorded.write_text(text.replace('"tframex_cassette": 1', '"tframex_cassette": 9'))
    with pytest.raises(SettingsError, match="a cassette of version 9, and 1 is known") as caught:
        ask(use(recorded, "replay"), server, "a")
    assert caught.value.hint == "update tframex-nb, or record it anew"


def test_a_file_that_is_no_cassette_is_neither_used_nor_deleted(server, path):
    path.write_text('{"my": "data"}\n')
    with pytest.raises(SettingsError, match="is no cassette: line 1 does not say so"):
        ask(use(path), server, "a")
    with pytest.raises(SettingsError, match="is no cassette"):
        use(path).current.clear()
    assert path.read_text() == '{"my": "data"}\n'


def test_a_broken_cassette_can_be_cleared(server, recorded):
    recorded.write_text(recorded.read_text().replace('{"asked"', "<", 1))
    use(recorded).current.clear()
    assert not recorded.exists()


def test_two_kernels_record_into_one_file_and_lose_nothing(server, tmp_path):
    """Three processes write at the same time; readers beside them only ever see whole files."""
    prompts = [f"q{n}" for n in range(12)]
    code = [sys.executable, "-c", RECORDER, server.url, str(tmp_path)]
    kernels = [
        subprocess.Popen([*code, *(f"{p} of {name}" for p in prompts), "shared"]) for name in "xyz"
    ]
    reader = Cassette(tmp_path / "both.ndjson")
    while any(kernel.poll() is None for kernel in kernels):
        assert reader.recordings is not None
        assert reader.note == ""
    assert [kernel.wait() for kernel in kernels] == [0, 0, 0]
    titles = sorted(r.asked.title for r in reader.recordings)
    assert titles == sorted([*(f"{p} of {n}" for p in prompts for n in "xyz"), *["shared"] * 3])
    shared = [r.number for r in reader.recordings if r.asked.title == "shared"]
    assert sorted(shared) == [1, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["both.ndjson"]


def test_threads_record_into_one_cassette_and_lose_nothing(server, path):
    cassettes = use(path)
    threads = [
        threading.Thread(target=ask, args=(cassettes, server, *(f"{n} {i}" for i in range(5))))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Cassette(path).recordings) == 20


@pytest.mark.skipif(os.name != "posix", reason="a mode is what POSIX has")
def test_a_file_keeps_its_mode(server, recorded):
    recorded.chmod(0o640)
    ask(use(recorded), server, "d")
    assert recorded.stat().st_mode & 0o777 == 0o640


# What may never be in a file, and how it comes near one; in two parts, or this file held keys.
PLANTED = {
    "the key of the model": "planted-model-key-1",
    "the key in the settings": "planted-settings-key-2",
    "a header": "planted-header-3",
    "the password of a proxy": "planted-proxy-4",
    "a provider's key": "planted-provider-5",
    "a variable whose name says so": "planted-password-6",
    "how OpenAI's look": "sk-" + "proj-Ab12Cd34Ef56Gh78Ij90",
    "how GitHub's look": "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345",
    "how Amazon's look": "AKIA" + "IOSFODNN7EXAMPLE",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    "the password of the model's URL": "planted-login-7",
    "a parameter": "planted-parameter-8",
    "a tool's argument": "planted-argument-9",
}


def test_no_secret_is_in_a_cassette(server, path, monkeypatch, tmp_path):
    """Planted in prompts, parameters, answers in small pieces, calls, errors; then looked for."""
    monkeypatch.setenv("TFRAMEX_API_URL", server.url)
    monkeypatch.setenv("TFRAMEX_API_KEY", PLANTED["the key in the settings"])
    monkeypatch.setenv("TFRAMEX_HEADERS", json.dumps({"X-Api-Key": PLANTED["a header"]}))
    monkeypatch.setenv("TFRAMEX_PROXY", f"http://me:{PLANTED['the password of a proxy']}@p:1")
    monkeypatch.setenv("MISTRAL_API_KEY", PLANTED["a provider's key"])
    monkeypatch.setenv("DB_PASSWORD", PLANTED["a variable whose name says so"])
    login = "the password of the model's URL"  # known to that model alone
    everything = (
        " and ".join(v for k, v in PLANTED.items() if k != login)
        + " at http://user:unknown-login-0@h/"
    )
    said = f"Here: {everything}."
    pieces = [said[i : i + 3] for i in range(0, len(said), 3)]
    calls = [("f", {"text": everything})]
    key, login = PLANTED["the key of the model"], PLANTED[login]
    for say in (
        Say(pieces, reasoning=everything, calls=calls),
        Say(status=401, error=f"wrong key: {everything}"),
    ):
        server.answer = lambda _request, say=say: say
        prompt = f"{everything} {say.status}"
        try:
            ask(use(path), server, prompt, key=key, api_key=PLANTED["a parameter"])
        except AuthError:
            assert say.status == 401
    server.answer = lambda _request: Say(["the password is planted", "-login-7"])
    with_login = server.url.replace("//", f"//me:{login}@")
    ask(use(path), server, f"is it {login}?", url=with_login)
    arguments = {"password": PLANTED["a tool's argument"]}
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps(arguments)}}
    _record(use(path), server, [{"role": "assistant", "tool_calls": [call]}])
    assert len(Cassette(path).recordings) == 4
    text = path.read_text(encoding="utf-8")
    unknown = {"a parameter", "a tool's argument"}  # by their place; in a free text nobody can tell
    for what, secret in PLANTED.items():
        if what not in unknown:
            assert secret not in text, what
    for what in unknown:
        assert f'"{PLANTED[what]}"' not in text, what
        assert f'\\"{PLANTED[what]}\\"' not in text, what
    for recording in Cassette(path).recordings:
        joined = "".join(getattr(e, "text", "") for batch in recording.events for e in batch)
        assert "unknown-login-0" not in joined
        for what, secret in PLANTED.items():
            assert what in unknown or secret not in joined, what


def _record(cassettes, server, messages):
    async def main():
        model = VLLMModel("m", server.url)
        try:
            await cassettes.model(model).run(messages)
        finally:
            await model.aclose()

    server.answer = lambda _request: Say("ok")
    asyncio.run(main())


def test_what_was_asked_with_a_secret_is_found_without_it(server, path, monkeypatch):
    """A key is masked before requests are compared: CI has another one, or none."""
    monkeypatch.setenv("DEPLOY_TOKEN", "the-token-at-home")
    ask(use(path), server, "deploy with the-token-at-home")
    monkeypatch.setenv("DEPLOY_TOKEN", "another-token-in-ci")
    replaying = use(path, "replay")
    assert ask(replaying, server, "deploy with another-token-in-ci") == ["to deploy with ***"]


@pytest.mark.parametrize(
    "text",
    [
        "The API key is kept in the environment; bearer tokens expire.",
        "sk-learn and risk-averse hf_hub_download_of_a_model",
        "http://localhost:8000/v1 and git@github.com:owner/name.git",
        "a basic understanding of authorization",
        "test EMPTY none",
    ],
)
def test_ordinary_texts_are_left_as_they_are(text):
    assert Mask(["EMPTY", "test"]).text(text) == text


def test_an_image_is_kept_as_its_digest(server, path):
    image = "data:image/png;base64," + "iVBORw0KGgo" * 5000

    def parts(url):
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]

    _record(use(path), server, parts(image))
    assert path.stat().st_size < 2000
    asked = len(server.requests)
    _record(use(path, "auto"), server, parts(image))
    assert len(server.requests) == asked
    _record(use(path, "auto"), server, parts(image + "AAAA"))
    assert len(server.requests) == asked + 1


def test_a_folder_of_nobody_is_told_of(monkeypatch):
    monkeypatch.setenv("TFRAMEX_CASSETTE_DIR", "~no-such-user-here/x")
    with pytest.raises(SettingsError, match="no-such-user-here") as caught:
        _ = Cassettes().folder
    assert "cassette_dir" in caught.value.hint
