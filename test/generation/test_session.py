"""Sessions: kept in a store, gone on with elsewhere, edited by several at once; and original audio."""

import dataclasses
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dacformer.codec import read_dac, write_dac
from dacformer.errors import UserError
from dacformer.generation.curves import Curve
from dacformer.generation.session import Session
from dacformer.generation.session_store import FolderStore, Store, take_ids
from dacformer.generation.synthesizer import Synthesizer
from dacformer.generation.take import Take

MOVING = {"class": "wind", "strength": Curve([(0, 0.1), (1, 0.9)])}


@pytest.fixture(params=["mapping", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return {} if request.param == "mapping" else FolderStore(tmp_path / "session")


@pytest.fixture
def stereo(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A stereo sound at 22.05 kHz, beyond full scale here and there, as 32-bit floats."""
    noise = np.random.default_rng(0).normal(0.0, 0.2, (4000, 2)) + np.sin(np.arange(4000) / 9)[:, None]
    path = tmp_path / "stereo.wav"
    soundfile.write(path, noise.astype(np.float32), 22050, subtype="FLOAT")
    return path, noise.astype(np.float32)


def grow(session: Session) -> Take:
    """A take of most kinds of edit."""
    first = session.generate(0.3, MOVING, seed=3)
    return first.extend(0.2, {"class": "pistons"}, seed=4).branch(2, 0.1)[1].cut(0.4)


def test_another_process_goes_on_from_a_stored_session_with_the_same_codes(
    untrained: Synthesizer, store: Store
) -> None:
    take = grow(Session(untrained, store))
    opened = Session(untrained, store).take(take.id)
    assert opened.recipe == take.recipe and opened.parent_id == take.parent_id
    np.testing.assert_array_equal(opened.codes, take.codes)
    np.testing.assert_allclose(opened.audio, take.audio, atol=1e-5)
    np.testing.assert_array_equal(opened.extend(0.3, seed=7).codes, take.extend(0.3, seed=7).codes)


def test_a_session_that_is_saved_later_is_the_same_tree(untrained: Synthesizer, store: Store) -> None:
    session = Session(untrained)
    take = grow(session)
    session.save(store)
    session.save(store)  # what is there already stays
    opened = Session(untrained, store)
    assert set(opened.ids()) == set(session.ids()) and len(opened.ids()) == 5
    assert opened.take(take.id).undo().undo().undo().recipe == take.undo().undo().undo().recipe
    tree = [(each.id, each.parent_id) for each in opened.take(take.id).history.takes]
    assert set(tree) == {(each.id, each.parent_id) for each in take.history.takes}


def test_two_writers_on_one_store_make_two_branches(untrained: Synthesizer, store: Store) -> None:
    first, second = Session(untrained, store), Session(untrained, store)
    root = first.generate(0.2, MOVING, seed=1)
    one, other = root.extend(0.1), second.take(root.id).extend(0.1, seed=2)
    assert {each.id for each in root.children} == {each.id for each in second.take(root.id).children}
    assert {each.id for each in root.children} == {one.id, other.id}


def test_threads_that_extend_one_take_get_what_one_alone_gets(untrained: Synthesizer) -> None:
    take = Session(untrained).generate(0.2, MOVING, seed=1)
    expected = take.extend(0.3).codes
    extended: list[Take] = []
    threads = [threading.Thread(target=lambda: extended.append(take.extend(0.3))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(take.children) == 4 and len({each.id for each in take.children}) == 4
    for each in extended:
        np.testing.assert_array_equal(each.codes, expected)


def test_a_store_holds_nothing_that_is_half_there(untrained: Synthesizer, tmp_path: Path) -> None:
    """A take whose last file is missing was never reported as stored; it is not listed."""
    session = Session(untrained, tmp_path / "session")
    take = session.generate(0.1)
    (tmp_path / "session" / f"{'0' * 32}.dac").write_bytes(b"half")
    assert take_ids(FolderStore(tmp_path / "session")) == [take.id] == Session(untrained, tmp_path / "session").ids()


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"parent": 3, "original": false}', '{"parent": null}'])
def test_a_damaged_store_says_which_take(untrained: Synthesizer, text: str) -> None:
    store: dict[str, bytes] = {}
    take = Session(untrained, store).generate(0.1)
    store[f"{take.id}.json"] = text.encode()
    with pytest.raises(UserError, match=f"{take.id}"):
        Session(untrained, store).take(take.id)
    with pytest.raises(UserError, match="no take"):
        Session(untrained, {}).take("../../etc")
    with pytest.raises(UserError, match="no take"):
        Session(untrained).take(take.id)


def test_a_stored_loop_is_decoded_in_a_circle_again(untrained: Synthesizer, store: Store, tmp_path: Path) -> None:
    loop = Session(untrained, store).generate(0.3, MOVING).loop(0.3, n=1)
    dac = untrained.load_take(loop.save(tmp_path / "loop.dac"))
    for opened in (Session(untrained, store).take(loop.id), dac):
        assert opened.loops
        np.testing.assert_array_equal(opened.audio, loop.audio)


def test_takes_are_listed_in_the_order_in_which_they_were_made(untrained: Synthesizer, store: Store) -> None:
    session = Session(untrained, store)
    take = session.generate(0.05)
    made = [take, *(take := take.extend(0.05) for _ in range(4))]
    assert session.ids() == [each.id for each in made] == Session(untrained, store).ids()
    history = Session(untrained, store).take(take.id).history
    assert [each.id for each in history.takes] == session.ids()


def test_a_damaged_entry_leaves_the_other_takes_usable(untrained: Synthesizer) -> None:
    store: dict[str, bytes] = {}
    take = Session(untrained, store).generate(0.1)
    damaged = "f" * 32
    store[f"{damaged}.json"] = json.dumps({"parent": damaged, "original": False}).encode()
    again = Session(untrained, store).take(take.id)
    with pytest.warns(UserWarning, match=f"left out: {damaged}.json"):
        assert again.children == []
    with pytest.warns(UserWarning, match="left out"):
        assert len(again.history) == 1


def test_a_take_of_another_session_is_refused(untrained: Synthesizer) -> None:
    take = untrained.generate(0.1)
    session = Session(untrained)
    for edit in (lambda: session.extend(take, 0.1), lambda: session.cut(take, 0.05), lambda: session.loop(take, 0.3)):
        with pytest.raises(UserError, match="of another session"):
            edit()


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_generated(
    untrained: Synthesizer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        Session(untrained, tmp_path / "file")


def test_a_take_of_more_codebooks_is_refused(untrained: Synthesizer, tmp_path: Path) -> None:
    path = untrained.generate(0.1).save(tmp_path / "x.dac")
    file = read_dac(path)
    wider = dataclasses.replace(file, codes=np.concatenate([file.codes, file.codes[:, :1]], axis=1))
    with pytest.raises(UserError, match="has 5 codebooks, and the model 4"):
        untrained.load_take(write_dac(path, wider))


def test_a_folder_store_takes_only_keys_of_takes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "session")
    for key in ("../x.dac", "/etc/passwd", "a.dac", f"{'a' * 32}.py"):
        with pytest.raises(KeyError):
            store[key] = b""
        with pytest.raises(KeyError):
            store[key]
    assert list(store) == [] and not (tmp_path / "session").exists()


def test_original_audio_is_kept_beside_the_codes_as_it_came(
    untrained: Synthesizer, store: Store, stereo: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    path, samples = stereo
    take = Session(untrained, store).prompt(path, 0.3, MOVING, seed=1)
    folder = untrained.load_take(take.save(tmp_path / "take"))
    for each in (take, take.undo(), take.extend(0.1), Session(untrained, store).take(take.id), folder):
        assert each.original is not None and each.original.sample_rate == 22050
        np.testing.assert_array_equal(each.original.samples, samples)
    half = take.cut(0.09)  # within the prompt
    assert half.original is not None and len(half.original.samples) == round(half.seconds * 22050) < len(samples)
    assert take.loop(0.3).original is None and untrained.generate(0.1).original is None


def test_a_take_with_its_original_begins_with_the_original_samples(
    untrained: Synthesizer, stereo: tuple[Path, np.ndarray]
) -> None:
    path, samples = stereo
    take = untrained.continue_from(path, 0.3, MOVING, seed=1)
    whole, rate = take.audio_with_original()
    assert rate == 22050 and whole.shape[1] == 2
    np.testing.assert_array_equal(whole[: len(samples)], samples)
    added = take.seconds - take.recipe.prompt_frames * 512 / 44100
    assert len(whole) == pytest.approx(len(samples) + added * 22050, abs=2)
    np.testing.assert_array_equal(whole[len(samples) :, 0], whole[len(samples) :, 1])
    plain, rate = untrained.generate(0.1).audio_with_original()
    assert rate == 44100 and plain.shape == (9 * 512, 1)


def test_recipes_in_a_store_are_plain_json(untrained: Synthesizer) -> None:
    store: dict[str, bytes] = {}
    take = grow(Session(untrained, store))
    about = json.loads(store[f"{take.id}.json"])
    assert about == {"parent": take.parent_id, "original": False}
