"""Slots: a bound on runs at once, first come first served, and nobody is lost."""

from __future__ import annotations

import asyncio
import random

from tframex_nb.frameworks.slots import Slots


def test_runs_beyond_the_limit_wait_and_are_told_how_many_are_ahead():
    async def main():
        slots, told, order = Slots(1), [], []

        async def run(number):
            async with slots.take(lambda ahead: told.append((number, ahead))):
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(run(n) for n in range(4)))
        assert order == [0, 1, 2, 3]
        assert told[:3] == [(1, 0), (2, 1), (3, 2)]
        assert [each for each in told if each[1] < 0] == [(1, -1), (2, -1), (3, -1)]
        assert (slots.running, slots.waiting) == (0, 0)

    asyncio.run(main())


def test_a_raised_limit_admits_who_waits():
    async def main():
        slots, gate = Slots(1), asyncio.Event()

        async def run():
            async with slots.take(lambda _: None):
                await gate.wait()

        tasks = [asyncio.create_task(run()) for _ in range(3)]
        await asyncio.sleep(0.01)
        assert (slots.running, slots.waiting) == (1, 2)
        slots.limit = 3
        await asyncio.sleep(0.01)
        assert (slots.running, slots.waiting) == (3, 0)
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_stops_at_random_moments_never_lose_or_invent_a_slot():
    """Two thousand runs, half of them cancelled while they wait or work."""
    dice = random.Random(7)

    async def main():
        slots, most = Slots(3), 0

        async def run():
            nonlocal most
            async with slots.take(lambda _: None):
                most = max(most, slots.running)
                await asyncio.sleep(dice.random() / 2000)

        tasks = []
        for _ in range(2000):
            tasks.append(asyncio.create_task(run()))
            if dice.random() < 0.5:
                dice.choice(tasks).cancel()
            if dice.random() < 0.1:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most == 3
        assert (slots.running, slots.waiting) == (0, 0)

    asyncio.run(main())
