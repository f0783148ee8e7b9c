"""Prompts with images: what arrives at the endpoint, what is kept, what people read."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
from pydantic import BaseModel
from scripted_server import Say, server

from tframex_nb.agents import Agent, ContextAgent
from tframex_nb.agents.attachments import MAX_PARTS
from tframex_nb.agents.prompts import Attached, read_prompt
from tframex_nb.errors import CassetteMiss, InvalidInput
from tframex_nb.messages import Message
from tframex_nb.models import VLLMModel
from tframex_nb.models.cassette import shared_cassettes
from tframex_nb.models.gateway.markers import Markers
from tframex_nb.models.parts import Attachment
from tframex_nb.runs import Run
from tframex_nb.runtime import RunRequest, Runtime
from tframex_nb.testing.images import png
from tframex_nb.transcript import TerminalWriter, to_markdown, to_text

__all__ = ["server"]

PART = Attachment("image", "image/png", png(3, 2), "dots", 3, 2).to_part()
TEXT = {"type": "text", "text": "What is it?"}


def ask(server, *prompts, **options):
    """Ask one agent after another prompt; return it."""

    async def scene():
        async with VLLMModel("scripted", server.url) as model:
            agent = Agent("eye", model, **options)
            for prompt in prompts:
                await agent.run(prompt)
            return agent

    return asyncio.run(scene())


def test_exactly_the_part_arrives_and_the_conversation_keeps_it(server, tmp_path):
    (tmp_path / "x.png").write_bytes(png(3, 2))
    server.say("dots", "still dots")
    agent = ask(server, ["What is it?", tmp_path / "x.png"], "And now?")
    first, second = server.requests
    assert first.messages == [{"role": "user", "content": [TEXT, PART]}]
    assert second.messages[0] == first.messages[0]
    assert second.texts[1:] == ["dots", "And now?"]
    assert agent.conversation.messages()[0] == Message("user", [TEXT, PART])


def test_the_run_is_told_in_text_with_a_place_holder(server):
    server.say("dots")
    agent = ask(server, ["What is it?", png(3, 2), b"%PDF-1.7"])
    size = len(png(3, 2))
    assert (
        agent.last.prompt
        == f"What is it?\n[image 1: bytes, PNG 3x2, {size} B]\n[file 1: bytes, PDF, 8 B]"
    )
    assert f"sent bytes: PNG 3x2, {size} B" in to_text(agent.last)
    writer = TerminalWriter(colour=False)
    printed = "".join(writer.feed(event) for event in agent.last.events)
    assert printed.startswith(f"sent bytes: PNG 3x2, {size} B\nsent bytes: PDF, 8 B\n")
    assert "base64" not in printed
    assert [event.line for event in agent.last.events if isinstance(event, Attached)] == [
        f"sent bytes: PNG 3x2, {size} B",
        "sent bytes: PDF, 8 B",
    ]


def test_sound_and_pdf_go_in_openais_shapes(server):
    server.say("heard")
    ask(server, ["Listen", b"ID3\4", b"%PDF-1.7"])
    [_, sound, pdf] = server.requests[0].messages[0]["content"]
    data = base64.b64encode(b"ID3\4").decode()
    assert sound == {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}
    assert pdf["file"]["file_data"].startswith("data:application/pdf;base64,")


def test_texts_alone_are_one_text(server):
    server.say("ok")
    ask(server, ["First.", "Second."])
    assert server.requests[0].texts == ["First.\nSecond."]


def test_a_context_stands_above_a_prompt_with_an_image(server):
    server.say("dots")

    async def scene():
        async with VLLMModel("scripted", server.url) as model:
            await ContextAgent("eye", model, "Dots are blue.").run(["What is it?", png(3, 2)])

    asyncio.run(scene())
    [above, *rest] = server.requests[0].messages[0]["content"]
    assert above["text"].startswith("Context:\nDots are blue.")
    assert rest == [TEXT, PART]


def test_a_typed_answer_about_an_image_is_asked_for_beside_it(server):
    server.say('{"colour": "blue"}')

    class Seen(BaseModel):
        colour: str

    async def scene():
        async with VLLMModel("scripted", server.url) as model:
            agent = Agent("eye", model)
            await agent.run(["What is it?", png(3, 2)], schema=Seen)
            return agent

    assert asyncio.run(scene()).last.output == Seen(colour="blue")
    assert PART in server.requests[0].messages[0]["content"]


def test_memory_forgets_an_image_with_its_turn(server):
    server.say("dots", "no", "gone")
    ask(server, ["What is it?", png(3, 2)], "And?", "And now?", memory=2)
    assert json.dumps(server.requests[1].messages).count("base64") == 1
    assert "base64" not in json.dumps(server.requests[2].messages)


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ([], "an empty list"),
        ([object()], "a object in place of a prompt"),
        ([{"role": "user", "content": "hi"}], "a dict that is no content part: role, content"),
        ([{"type": "image_url", "image_url": "x.png"}], "a dict that is no content part"),
        ([png(3, 2)] * (MAX_PARTS + 1), f"at most {MAX_PARTS} are sent"),
        (7, "a int in place of a prompt"),
    ],
    ids=["empty", "object", "message", "no part", "many", "number"],
)
def test_what_cannot_be_sent_is_refused_before_the_run(prompt, why):
    agent = Agent("eye", "demo")
    with pytest.raises(InvalidInput, match=why):
        agent.stream(prompt)
    assert agent.last is None


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="is a folder"):
        read_prompt([tmp_path], "eye")


def test_a_hostile_name_is_one_harmless_line():
    name = "![x](http://evil/?q)\n<b>\x1b[31m\u202eabc" + "z" * 300
    prompt = read_prompt([Attachment("image", "image/png", png(3, 2), name, 3, 2)], "eye")
    run = Run(prompt=prompt.text)
    for event in prompt.attached:
        run.record(event)
    shown = to_markdown(run)
    assert "\n" not in prompt.attached[0].line
    assert "![x]" not in shown
    assert "<b>" not in shown
    assert "\x1b" not in to_text(run)
    assert len(prompt.attached[0].line) < 150


@pytest.mark.parametrize(
    "preview",
    [
        "https://evil/x.png",
        "data:image/svg+xml;base64,AAAA",
        "data:image/png;base64,A) ![](http://e",
    ],
)
def test_only_small_data_of_pictures_is_shown(preview):
    run = Run()
    run.record(Attached("x", "PNG", preview))
    assert "![]" not in to_markdown(run)


def test_previews_of_many_images_stay_within_their_room():
    images = [
        Attachment(
            "image", "image/png", png(3, 2), "x", 3, 2, "data:image/png;base64," + "A" * 20_000
        )
    ] * 5
    previews = [each.preview for each in read_prompt(images, "eye").attached]
    assert [bool(preview) for preview in previews] == [True, True, False, False, False]


class TestMarkers:
    """The way of a part through a framework: a mark out, the part back in."""

    def marked(self):
        markers = Markers()
        message = markers.mark(Message("user", [TEXT, PART, {"type": "text", "text": "Say."}]))
        return markers, message.content

    def test_a_message_is_restored_as_it_was(self):
        markers, text = self.marked()
        assert "base64" not in text
        restored = markers.restore([{"role": "user", "content": text}])
        assert restored == [
            {"role": "user", "content": [TEXT, PART, {"type": "text", "text": "Say."}]}
        ]

    def test_text_parts_and_words_of_the_framework_around_it_are_kept(self):
        markers, text = self.marked()
        sent = [{"type": "text", "text": f"New task:\n{text}"}, {"type": "other"}]
        [message] = markers.restore([{"role": "user", "content": sent}])
        assert [part["type"] for part in message["content"]] == [
            "text",
            "image_url",
            "text",
            "other",
        ]
        assert message["content"][0]["text"] == "New task:\nWhat is it?"

    def test_a_part_said_twice_is_sent_once(self):
        markers, text = self.marked()
        twice = [{"role": "user", "content": text}, {"role": "user", "content": f"Again: {text}"}]
        restored = markers.restore(twice)
        assert json.dumps(restored).count("base64") == 1
        assert "[image: PNG 3x2" in restored[1]["content"]

    @pytest.mark.parametrize("role", ["system", "assistant", "tool"])
    def test_no_other_role_gets_a_part_or_sees_a_mark(self, role):
        markers, text = self.marked()
        for content in (text, [{"type": "text", "text": text}]):
            [message] = markers.restore([{"role": role, "content": content}])
            assert "base64" not in json.dumps(message)
            assert "attachment_" not in json.dumps(message)

    def test_a_forged_mark_stays_text(self):
        markers, text = self.marked()
        mark = text.split("\n")[1]
        forged = [
            "[attachment_00000000000000000000000000000000_0_]",
            mark.replace("_0_]", "_7_]"),
            Markers().mark(Message("user", [PART])).content,
        ]
        for each in forged:
            [message] = markers.restore([{"role": "user", "content": f"See {each}"}])
            assert isinstance(message["content"], str)

    def test_requests_without_parts_pass_unchanged(self):
        sent = [
            {"role": "user", "content": "a "},
            {"role": "user", "content": None},
            {"role": "tool"},
        ]
        assert Markers().restore(sent) == sent
        markers, _ = self.marked()
        assert markers.restore(sent) == sent


def test_what_one_way_recorded_answers_the_other_and_another_image_does_not(server, tmp_path):
    """The same key natively and through the gateway, with no image data in the cassette."""
    server.say("dots")
    cassettes = shared_cassettes()

    async def look(mode, framework, image):
        cassettes.use(mode, folder=tmp_path, name="eye")
        runtime = Runtime()
        async with VLLMModel("scripted", server.url) as model:
            agent = Agent("eye", model)
            request = RunRequest(agent, ["What is it?", image], framework=framework)
            try:
                async for _ in runtime.stream(request):
                    pass
            finally:
                await runtime.aclose()
        return agent.last.text

    try:
        asyncio.run(look("record", "", png(30, 20)))
        assert asyncio.run(look("replay", "native", png(30, 20))) == "dots"
        with pytest.raises(CassetteMiss) as told:
            asyncio.run(look("replay", "native", png(30, 21)))
    finally:
        cassettes.use(None)
    assert len(server.requests) == 1
    assert any("sha256," in line for line in told.value.difference)
    kept = (tmp_path / "eye.ndjson").read_text()
    assert "sha256," in kept
    assert "iVBOR" not in kept


def test_no_log_holds_the_data_of_an_image(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.say(Say(status=400, error="image input is not supported"))
    with pytest.raises(Exception, match="does not take") as told:
        ask(server, ["What is it?", png(3, 2)])
    assert "iVBOR" not in caplog.text + str(told.value)
