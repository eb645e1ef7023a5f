"""Who held an address over time, from the frames that claimed it, and what is wrong with that."""

from __future__ import annotations

import pytest

from failover import history
from failover.history import History, Sighting, kernels_agree, moved, moves_at_most, one_owner, silent_at_most
from failover.measure import gap_across, longest_gap
from lab import network

VIP = "198.18.0.100"
ONE, TWO, SERVER = (network.CLIENT.hardware(number) for number in (11, 12, 21))


def answers(owner: str, start: float, end: float, every: float = 0.05) -> list[Sighting]:
    count = round((end - start) / every) + 1
    return [Sighting(start + every * number, VIP, owner, "answer") for number in range(count)]


def recorded(*parts: list[Sighting]) -> History:
    return History([one for part in parts for one in part])


def test_a_crash_is_one_move_with_a_silence_between() -> None:
    seen = recorded(answers("director-1", 10, 12), answers("director-2", 12.3, 15))
    owners = seen.owners(VIP)
    assert owners.order == ["director-1", "director-2"]
    assert owners.moves == 1
    assert owners.silent == pytest.approx(0.3)
    assert owners.doubled == []
    assert owners.at(11) == {"director-1"}
    assert owners.at(12.1) == set()
    assert not [*one_owner(seen), *moved(seen, VIP, "director-1", "director-2"), *silent_at_most(seen, 0.35)]
    assert silent_at_most(seen, 0.25)
    assert moved(seen, VIP, "director-1")


def test_two_who_answer_at_a_time_are_found_and_for_how_long() -> None:
    seen = recorded(answers("director-1", 10, 14), answers("director-2", 13, 15))
    (stretch,) = seen.owners(VIP).doubled
    assert stretch == pytest.approx((13, 14))
    assert one_owner(seen, window=1.1) == []
    assert "two owners for 1.00 s" in one_owner(seen, window=0.9)[0]
    assert seen.owners(VIP).last == "director-2"
    stayed = recorded(answers("director-1", 10, 16), answers("director-2", 13, 15))
    assert stayed.owners(VIP).last == "director-1"


def test_one_who_goes_and_comes_back_is_two_moves_and_one_that_pauses_is_none() -> None:
    back = recorded(answers("director-1", 10, 11), answers("director-2", 11.5, 12), answers("director-1", 12.5, 13))
    assert back.owners(VIP).moves == 2
    assert moves_at_most(back, 2) == []
    assert moves_at_most(back, 1)
    paused = recorded(answers("director-1", 10, 11), answers("director-1", 14, 15))
    assert paused.owners(VIP).moves == 0
    assert paused.owners(VIP).silent == pytest.approx(3)


def test_a_kernel_that_holds_an_address_that_another_owner_answers_for_is_found_and_the_owners_that_does_not() -> None:
    def wrong(director: str, *addresses: str, at: float = 12.0) -> int:
        seen = recorded(answers("director-1", 10, 14), answers("director-2", 14.3, 20))
        seen.note(at, "kernel: now", director=director, addresses=[*addresses, "127.0.0.1/8"])
        return len(kernels_agree(seen))

    held = f"{VIP}/32"
    assert (wrong("director-1", held), wrong("director-2")) == (0, 0)
    assert (wrong("director-1"), wrong("director-2", held)) == (1, 1)
    assert (wrong("director-1", at=14.1), wrong("director-2", held, at=13.5)) == (0, 0), "it changes just then"


def test_frames_that_arrive_late_are_no_move_back() -> None:
    gone, straggler = answers("director-1", 10, 11), [Sighting(11.901, VIP, "director-1", "packet")]
    late = recorded(gone, straggler, answers("director-2", 11.9, 11.95), answers("director-2", 12.4, 14))
    assert late.owners(VIP).order == ["director-1", "director-2"]
    back = recorded(gone, answers("director-1", 11.901, 12.4), answers("director-2", 11.9, 11.95))
    assert back.owners(VIP).order == ["director-1", "director-2", "director-1"]


def test_a_real_server_that_answers_clients_by_itself_owns_nothing() -> None:
    rows = [(1.0, VIP, ONE, "packet"), (1.1, VIP, SERVER, "packet"), (1.2, VIP, TWO, "packet")]
    assert [one.owner for one in history.sightings(rows, 0)] == ["director-1", "director-2"]
    claims = [(1.0, VIP, SERVER, "answer"), (1.0, VIP, "02:ff:00:00:00:01", "announcement")]
    assert [one.owner for one in history.sightings(claims, 0)] == ["rs-1", "02:ff:00:00:00:01"]


def test_times_are_the_machines() -> None:
    (one,) = history.sightings([(5.0, VIP, ONE, "answer")], 0.25)
    assert one.time == 5.25


def test_the_pause_is_the_longest_gap_that_ends_after_the_crash() -> None:
    times = [0.0, 0.4, 0.5, 0.9, 1.2, 1.21]
    assert longest_gap(times, 0.95) == pytest.approx(0.3)
    assert longest_gap(times, 0.0, 0.95) == pytest.approx(0.4)
    assert longest_gap([], 1.0) == 0


def test_the_pause_of_a_planned_failover_is_the_gap_that_the_move_is_in() -> None:
    times = [0.0, 0.1, 0.3, 0.35, 0.9]
    assert gap_across(times, 0.2, 0.25) == pytest.approx((0.2, 0.1))
    assert gap_across(times, 0.2, 0.32)[0] == pytest.approx(0.2), "later ones are somebody else's"
    assert gap_across(times, 0.2, 0.4) == pytest.approx((0.55, 0.35))
    assert gap_across(times, 1.0, 2.0)[0] == 0
