"""`edge.slot`: leases, switches, and requests that wait for a model to come back."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edge.errors import NotReady
from edge.slot import LoadedModel, Slot


def model(name: str = "a") -> LoadedModel:
    """A model that has a name, and computes nothing."""
    predictor = SimpleNamespace(
        bundle=SimpleNamespace(digest=name, manifest=SimpleNamespace(max_tokens=8))
    )
    return LoadedModel(cast(Any, predictor), 4)


def slot_of(first: LoadedModel) -> Slot:
    """A slot with this model."""
    return Slot(first, lambda _: None)


def test_request_keeps_its_model_to_the_end() -> None:
    """What is put in its place meanwhile is for the next one."""

    async def check() -> None:
        old, new = model("old"), model("new")
        slot = slot_of(old)
        async with slot.use() as mine:
            assert slot.put(new) is old
            async with slot.use() as other:
                assert (mine, other) == (old, new)
            retiring = asyncio.create_task(old.retire(60.0))
            assert await asyncio.wait({retiring}, timeout=0.3) == (set(), {retiring})
            assert hasattr(old, "predictor")
        await retiring
        assert not hasattr(old, "predictor")
        await new.retire(0.0)

    asyncio.run(check())


def test_retiring_waits_so_long_and_no_longer() -> None:
    """A request that hangs does not keep the memory for ever."""

    async def check() -> None:
        held = model()
        with held.lease():
            await held.retire(0.01)
        assert not hasattr(held, "predictor")

    asyncio.run(check())


def test_newcomers_are_not_waited_for() -> None:
    """Else the shadow would starve under load, and with them it would not let requests pass."""

    async def check() -> None:
        busy = model()
        first = busy.lease()
        first.__enter__()
        passing = asyncio.create_task(busy.until_passed())
        await asyncio.sleep(0)
        second = busy.lease()
        second.__enter__()
        assert not passing.done()
        first.__exit__(None, None, None)
        await asyncio.wait_for(passing, 10)
        assert busy.is_used
        second.__exit__(None, None, None)
        await busy.until_free()
        await busy.retire(0.0)

    asyncio.run(check())


def test_empty_slot_says_why_and_when() -> None:
    """As while a model is replaced in a small memory."""

    async def check() -> None:
        slot = slot_of(model())
        absence = NotReady("being replaced")
        before = slot.clear(absence)
        assert not slot.is_ready
        with pytest.raises(NotReady, match="being replaced"):
            async with slot.use():
                pass
        assert before is not None
        await before.retire(0.0)

    asyncio.run(check())


def test_one_load_serves_all_who_wait() -> None:
    """And who comes after it finds the model there."""

    async def check() -> None:
        slot, loads = slot_of(model()), []

        async def reload() -> LoadedModel:
            loads.append(1)
            await asyncio.sleep(0)
            return model("again")

        before = slot.clear(NotReady("idle"), reload)
        assert slot.is_ready

        async def ask() -> str:
            async with slot.use(30.0) as found:
                return found.digest

        assert set(await asyncio.gather(*(ask() for _ in range(8)))) == {"again"}
        assert len(loads) == 1
        for one in (before, slot.model):
            assert one is not None
            await one.retire(0.0)

    asyncio.run(check())


def test_waiting_ends_with_the_deadline() -> None:
    """The load goes on for the next one."""

    async def check() -> None:
        slot, goes_on = slot_of(model()), asyncio.Event()

        async def reload() -> LoadedModel:
            await goes_on.wait()
            return model("late")

        before = slot.clear(NotReady("idle"), reload)
        with pytest.raises(NotReady, match="was not in time"):
            async with slot.use(0.01):
                pass
        goes_on.set()
        async with slot.use(30.0) as found:
            assert found.digest == "late"
        for one in (before, slot.model):
            assert one is not None
            await one.retire(0.0)

    asyncio.run(check())


@pytest.mark.parametrize("steps", range(6))
def test_model_that_leaves_as_soon_as_it_came_answers_who_woke_it(steps: int) -> None:
    """An idle time that is shorter than the load must not turn away who waited for it."""

    async def check() -> None:
        slot = slot_of(model())

        async def reload() -> LoadedModel:
            await asyncio.sleep(0)
            return model("brief")

        async def leave() -> None:
            """As the one who unloads: so many steps after it came, if nobody uses it."""
            while slot.model is None:
                await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            if slot.model is not None and not slot.model.is_used:
                left.append(slot.clear(NotReady("idle"), reload))

        left = [slot.clear(NotReady("idle"), reload)]
        leaving = asyncio.create_task(leave())
        async with slot.use(30.0) as found:
            assert found.digest == "brief"
            await leaving
        for one in (*left, slot.model):
            assert one is not None
            await one.retire(0.0)

    asyncio.run(check())


def test_load_that_fails_is_told_and_tried_again() -> None:
    """A bundle may be repaired meanwhile."""

    async def check() -> None:
        slot, fails = slot_of(model()), [True]

        async def reload() -> LoadedModel:
            if fails.pop() if fails else False:
                raise NotReady("it cannot be loaded")
            return model("repaired")

        before = slot.clear(NotReady("idle"), reload)
        with pytest.raises(NotReady, match="cannot be loaded"):
            async with slot.use(30.0):
                pass
        async with slot.use(30.0) as found:
            assert found.digest == "repaired"
        for one in (before, slot.model):
            assert one is not None
            await one.retire(0.0)

    asyncio.run(check())
