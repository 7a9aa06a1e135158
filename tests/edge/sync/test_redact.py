"""What leaves: nothing that has the shape of personal data, in any disguise; all else as it was."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import InvalidSettings
from edge.sync.batch import Batch, Sender, compress
from edge.sync.outgoing import Preparer
from edge.sync.redact import Redactor
from edge.sync.settings import SyncSettings, Tier
from tests.edge.sync.canaries import DENIED, KINDS, Canary, make_canaries, skeleton
from tests.edge.sync.records import correction

REGIONS = SyncSettings().regions
CANARIES = 1000
SEED = 20261122


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    """The default regions, and a deny list."""
    return Redactor(DENIED, REGIONS)


@pytest.mark.parametrize("field", ["text", "content", "label"])
def test_no_planted_canary_leaves(redactor: Redactor, field: str) -> None:
    """Sought in the bytes on the wire, piece by piece, after undoing every disguise."""
    preparer = Preparer(Tier.REDACTED, redactor, bytes)
    leaked = []
    for canary in make_canaries(CANARIES, SEED):
        outgoing = preparer.prepare(correction(**{field: canary.text}))
        assert outgoing is not None
        wire = compress(Batch(Sender("device", 1, "redacted"), [outgoing]).body())
        if _is_in(canary, gzip.decompress(wire).decode()):
            leaked.append(canary)

    assert leaked == []


def test_search_for_canaries_finds_them_where_nothing_is_redacted() -> None:
    """The check of the test above can fail: without redaction it finds every one."""
    canaries = make_canaries(CANARIES, SEED)

    assert sum(_is_in(canary, canary.text) for canary in canaries) == len(canaries)
    assert {canary.kind for canary in canaries} == set(KINDS)


def _is_in(canary: Canary, sent: str) -> bool:
    """Whether a piece of it is in a JSON body, whose own fields hold digits too."""
    try:
        record = json.loads(sent)["records"][0]
        sent = " ".join([record["text"], record["content"] or "", record["label"] or ""])
    except ValueError:
        pass
    left = skeleton(sent)
    return any(piece in left for piece in canary.pieces)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mail john.doe@example.com now", "mail [email] now"),
        ("john @ example.com", "[email]"),
        ("see ?to=john%40example.com", "see ?to=[email]"),
        ("ask root@nas", "ask [email]"),
        ("j\u200bohn\uff20example\uff0ecom!", "[email]!"),
        ("john@exam\nple.com", "[email]"),
        ("from jo.\r\n  hn@mail.\nexample.com.", "from [email]."),
        ("to john@example.com.\nThen", "to [email].\nThen"),
        ("call +49 (0)30 1234567 ok", "call [phone] ok"),
        ("tel 030/12 34 56 78", "tel [phone]"),
        ("(415) 555-2671?", "[phone]?"),
        ("pay DE89 3704 0044 0532 0130 00 is mine", "pay [iban] is mine"),
        ("card 4111-1111-1111-1111, 12/27", "card [card], 12/27"),
        ("card 4111_1111_1111_1111", "card [card]"),
        ("cards 4111|1111|1111|1111, 3782,822463,10005", "cards [card], [card]"),
        ("pay de89_3704_0044_0532_0130_00", "pay [iban]"),
        ("scan_+49_30_1234567.pdf", "scan_[phone].pdf"),
        ("ping 192.168.1.1:80", "ping [ip]:80"),
        ("from fe80::1, 2001:db8::1.", "from [ip], [ip]."),
        ("nic 00:1A:2b:3c:4d:5e", "nic [mac]"),
        ("https://bob:s3cret@host/x", "https://[credentials]/x"),
        ("https://bob:s3/cr@host/x", "https://[credentials]/x"),
        ("http://h/?api_key=abcd#x", "http://h/?api_key=[secret]#x"),
        ("password: hunter2", "password: [secret]"),
        ("customer 1234567890", "customer [number]"),
        ("PROJEKT  falke and kdabcdef", "[denied] and [denied]"),
    ],
)
def test_each_kind_is_replaced_by_its_name(redactor: Redactor, text: str, expected: str) -> None:
    """The words around it stay."""
    assert redactor.redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "meet @ noon, 3@5, @john",
        "on 2026-11-22 at 10:15:30, or 22.11.2026",
        "std::vector<int> a::b",
        "1998 1999 2000 2001 2002",
        "1998,1999,2000,2001 and 4111,1111,1111,1112",
        "IMG_20261128_103015.jpg",
        "version 1.2.3, section 4.5.6.7.8",
        "12 15 18 22 35 48 people paid 1.000.000,00 EUR",
        "https://host.test/a?page=2&sort=up",
        "Projektfalke, falke",
        "e\u0301te\u0301 \u200b caf\u00e9 \U0001f600 \u0661",
    ],
)
def test_ordinary_texts_stay_as_they_are(redactor: Redactor, text: str) -> None:
    """To the last character, also those that show nothing."""
    assert redactor.redact(text) == text


def test_real_requests_are_hardly_touched(
    redactor: Redactor, read_shared: Callable[[str], str]
) -> None:
    """Of 23 700 requests to an assistant, in which nobody gave an address or a number, none is."""
    rows = json.loads(read_shared("clinc150/data_full.json"))
    texts = [row[0] for split in rows.values() for row in split]
    touched = [text for text in texts if redactor.redact(text) != text]

    assert len(texts) > 20_000
    assert touched == []


def test_real_prose_is_touched_only_where_it_gives_an_address(
    redactor: Redactor, read_shared: Callable[[str], str]
) -> None:
    """Of 2 866 paragraphs of a novel, three: its publisher's phone numbers and addresses."""
    paragraphs = read_shared("longtext/moby_dick.txt").split("\n\n")
    touched = [text for text in paragraphs if redactor.redact(text) != text]

    assert len(touched) <= 3
    assert all("Gutenberg" in text or "@" in text for text in touched)


_NAME = re.compile(r"\[[a-z]+\]")
_SHARDS = st.sampled_from(
    [
        *'@a1 \n.:-/=[]"é\u200b\uff20\u0661',
        "4111",
        "+49",
        "(0",
        "://",
        "?key=",
        "DE89",
        "::",
        "x.com",
        "0171",
        "pwd:",
    ]
)


@given(st.lists(_SHARDS, max_size=40).map("".join) | st.text(max_size=60))
def test_nothing_more_is_found_in_what_was_redacted(text: str) -> None:
    """One pass is enough, and never fails; at most what was found gets another name."""
    redactor = Redactor(DENIED, ("DE", "US"))
    once = redactor.redact(text)

    assert _NAME.sub("[]", redactor.redact(once)) == _NAME.sub("[]", once)


@given(
    st.text(st.characters(categories=["L", "Zs", "P"]), max_size=30),
    st.integers(0, 10**6),
)
def test_canaries_do_not_leave_whatever_stands_beside_them(beside: str, seed: int) -> None:
    """Any words on both sides, with a blank between."""
    canary = make_canaries(1 + seed % len(KINDS), seed)[-1]
    redacted = Redactor(DENIED, REGIONS).redact(f"{beside} {canary.text} {beside}")

    assert not _is_in(canary, redacted.replace(beside, " ") if beside else redacted)


HOSTILE = {
    "one word": "a",
    "at signs": "a@",
    "domains": "x@y.",
    "broken addresses": "a-\n",
    "digits": "41 ",
    "single digits": "1 ",
    "one number": "4",
    "phones": "030 1234567 ",
    "plus": "+1(",
    "ibans": "DE89 ",
    "colons": "1:",
    "dots": "1.",
    "links": "://",
    "logins": "https://a:b/",
    "queries": "?" + "a" * 50,
    "quotes": '"a',
    "secrets": "password:",
    "blanks": " ",
    "lines": "\n",
    "marks": "a\u0301\u0323",
    "zero width": "1\u200b",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_no_faster_than_the_text(redactor: Redactor, name: str) -> None:
    """Eight times the text takes far less than the 64 times of a quadratic pattern."""
    shard = HOSTILE[name]
    small, large = (shard * (size // len(shard)) for size in (1 << 12, 1 << 15))
    ratio = _seconds(redactor, large) / _seconds(redactor, small)

    assert ratio < 24


def _seconds(redactor: Redactor, text: str) -> float:
    """The better of two: what else the machine does only adds."""
    times = []
    for _ in range(2):
        start = time.process_time()
        redactor.redact(text)
        times.append(time.process_time() - start)
    return max(min(times), 1e-4)


def test_deny_list_of_a_broken_pattern_is_refused() -> None:
    """With the pattern, and what is wrong with it."""
    with pytest.raises(InvalidSettings, match="regular expression"):
        Redactor(["/(/"])


def test_deny_list_of_a_blank_is_refused() -> None:
    """It would deny everything, or nothing."""
    with pytest.raises(InvalidSettings, match="blank"):
        Redactor([" "])


def test_unknown_region_is_refused() -> None:
    """A typing error must not switch a country off."""
    with pytest.raises(InvalidSettings, match="'XX'"):
        Redactor(regions=["DE", "XX"])
