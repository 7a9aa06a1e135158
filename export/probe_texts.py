"""The texts that a starter is measured and self-tested on, written for this and nothing else."""

from __future__ import annotations

__all__ = ["PROBES", "SELF_TESTS"]

_LIGHTHOUSE = (
    "The lighthouse on Gull Point was lit for the first time on 3 March 1871. Its lamp burned "
    "rapeseed oil until 1902, when the keeper, Ada Holm, had it changed to paraffin against the "
    "wishes of the harbour board. A storm in 1928 broke two of the eight lenses; replacements came "
    "by ship from Marseille and cost 2,400 crowns. The light has run without a keeper since 1984."
)
_MINUTES = (
    "Present: Ilse, Tomas, Bea. The roof of the club house leaks again above the kitchen. Tomas "
    "has two offers, one of 6,800 with a guarantee of ten years and one of 5,100 without. Bea asks "
    "whether the reserve of 4,000 may be used. No decision; to be settled on 12 May."
)
_STUDY = (
    "Forty hens were kept under red light and forty under white light for sixteen weeks. The hens "
    "under red light laid 5.9 eggs a week, the others 5.4. Feed per egg was the same in both. "
    "Feather pecking was seen in nine hens under white light and in two under red light."
)

PROBES: tuple[str, ...] = (
    f"Sum this up for me in two lines.\n\n{_LIGHTHOUSE}",
    f"{_LIGHTHOUSE}\n\nWhat did the new lenses cost, and where did they come from?",
    f"Was it a good idea to change the lamp to paraffin?\n\n{_LIGHTHOUSE}",
    f"{_MINUTES}\n\nPlease give me the essentials of this meeting.",
    f"List the people who were there and both offers.\n\n{_MINUTES}",
    f"Which of the two offers should they take, and why?\n\n{_MINUTES}",
    f"{_STUDY}\n\nTell me in one sentence what came out of this study.",
    f"How many eggs a week did the hens under white light lay?\n\n{_STUDY}",
    f"{_STUDY}\n\nWhy might the colour of the light change how hens behave?",
    "find the minutes of the club meeting",
    "pictures of lighthouses in winter",
    "Where can I get a guide to keeping hens?",
    "open my folder of roof repair offers",
    "jazz records from the seventies",
    "How do I stop my neighbour's hens from eating my lettuce?",
    "If paraffin costs 3 a litre and the lamp burns 2 litres a night, what does a year cost?",
    "Is it worth repairing a roof that is forty years old?",
    "Write down the serial number and the date of purchase from this receipt.",
    "What is this letter about, in a nutshell?",
    "TL;DR please",
    "turn the heating down in the study",
    "remind Bea about the twelfth of May",
    "I saw a fox behind the hen house",
    "Grüße! Könntest du mir das kurz zusammenfassen?",
)
"""Requests of all four default intents and of none, with and without a passage, head and tail."""

_HOUSE = ("cooking", "music", "travel", "gardening")
_DESK = ("invoice", "holiday photo", "source code", "love letter")

SELF_TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("How long do I boil potatoes for a salad?", _HOUSE),
    ("Bake the bread at 220 degrees until the crust is brown.", _HOUSE),
    ("Stir the onions into the soup and let it simmer.", _HOUSE),
    ("Play the second symphony, slow movement first.", _HOUSE),
    ("The violin is out of tune with the piano.", _HOUSE),
    ("Which train goes from Turin to Nice on Sunday?", _HOUSE),
    ("Book a room near the airport for two nights.", _HOUSE),
    ("Prune the roses before the first frost.", _HOUSE),
    ("My tomato plants have yellow leaves.", _HOUSE),
    ("Sow the carrots in rows and water them daily.", _HOUSE),
    ("Amount due: 340.00, payable within thirty days.", _DESK),
    ("Please pay the total including VAT to the account below.", _DESK),
    ("Us on the beach in Crete last summer, sunburnt and happy.", _DESK),
    ("A snapshot of the children in front of the mountain hut.", _DESK),
    ("def area(radius): return 3.14159 * radius ** 2", _DESK),
    ("for (int i = 0; i < n; i++) { sum += values[i]; }", _DESK),
    ("My darling, I count the hours until I hold you again.", _DESK),
    ("I have adored you since the evening we first met.", _DESK),
)
"""Texts, and plain labels to judge them by: an admin's own intents must not fail a self-test."""
