"""The arithmetic that tells a card or an account number from other digits. Knows no text."""

from __future__ import annotations

import re

__all__ = ["IBAN_LENGTHS", "is_card", "is_iban"]

IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in re.findall(
        r"\w+",
        """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18
    DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
    IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27
    MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19
    SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
    """,
    )
}
"""Characters of an IBAN by country. Source: the SWIFT IBAN registry."""

_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_CARD_LENGTHS = {"3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19)}


def is_iban(compact: str) -> bool:
    """Whether this is an IBAN: its country's length, and 1 modulo 97 (ISO 13616).

    Args:
        compact: Upper case ASCII letters and digits, without blanks.
    """
    if IBAN_LENGTHS.get(compact[:2]) != len(compact):
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def is_card(digits: str) -> bool:
    """Whether this is a payment card's number: an issuer's range and length, and Luhn's digit.

    Source: ISO/IEC 7812-1, annex B; 2221 to 2720 are Mastercard's.
    """
    lengths = _CARD_LENGTHS.get(digits[:1], ())
    if digits[:1] == "2" and "2221" <= digits[:4] <= "2720":
        lengths = (16,)
    if len(digits) not in lengths:
        return False
    plain = sum(map(int, digits[-1::-2]))
    doubled = sum(_DOUBLED[int(digit)] for digit in digits[-2::-2])
    return (plain + doubled) % 10 == 0
