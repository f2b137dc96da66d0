"""The 40 classes of the phone recognisers, and how other alphabets fold into them.

Classes are those of the CMU dictionary with `zh` joined to `sh` and the flap `dx` added, and
silence. TIMIT's 61 symbols fold to the customary 39 of Lee and Hon (1989), which leave `ao`
unused.
"""

CLASSES = (
    "sil aa ae ah ao aw ay b ch d dh dx eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th "
    "uh uw v w y z"
).split()
INDEX = {name: index for index, name in enumerate(CLASSES)}
SILENCE = INDEX["sil"]

_ESPEAK_SYMBOLS = {
    "sil": "? _ _: _! _;",
    "aa": "A: A~ 0",
    "ae": "a aa",
    "ah": "a# @ @- @2 V",
    "ao": "O: O2",
    "aw": "aU",
    "ay": "aI",
    "ch": "tS",
    "dh": "D",
    "dx": "t#",
    "eh": "E",
    "er": "3 3:",
    "ey": "e eI",
    "hh": "h",
    "ih": "I I2 I#",
    "iy": "i: i",
    "jh": "dZ",
    "n": "n n-",
    "ng": "N",
    "ow": "oU",
    "oy": "OI",
    "r": "r r-",
    "sh": "S Z",
    "t": "t t2",
    "th": "T",
    "uh": "U",
    "uw": "u:",
    "y": "j ;",
    **{name: name for name in "b d f g k l m p s v w z".split()},
    # Two phones in one symbol.
    "ah l": "@L",
    "aa r": "A@",
    "ao r": "O@ o@",
    "eh r": "e@",
    "ih r": "i@3",
    "uh r": "U@",
    "iy ah": "i@",
    "ay ah": "aI@",
    "ay er": "aI3",
}

ESPEAK: dict[str, tuple[int, ...]] = {
    symbol: tuple(INDEX[name] for name in names.split())
    for names, symbols in _ESPEAK_SYMBOLS.items()
    for symbol in symbols.split()
}
"""eSpeak mnemonic without stress marks -> one class, or two that share its time."""

_TIMIT_FOLDS = {
    "aa": "ao",
    "ah": "ax ax-h",
    "er": "axr",
    "hh": "hv",
    "ih": "ix",
    "l": "el",
    "m": "em",
    "n": "en nx",
    "ng": "eng",
    "sh": "zh",
    "uw": "ux",
    # The glottal stop q is customarily dropped. Its frames still need a class, and silence is
    # dropped from every phone sequence.
    "sil": "pcl tcl kcl bcl dcl gcl h# pau epi q",
}

TIMIT: dict[str, int] = {
    **{name: INDEX[name] for name in CLASSES if name not in ("ao", "sil")},
    **{
        symbol: INDEX[name] for name, symbols in _TIMIT_FOLDS.items() for symbol in symbols.split()
    },
}
"""TIMIT's 61 symbols -> class."""
