from evaluators.data.phones import CLASSES, ESPEAK, INDEX, SILENCE, TIMIT


def test_there_are_39_phones_and_silence() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == 40
    assert CLASSES[SILENCE] == "sil"


def test_every_class_has_an_espeak_mnemonic() -> None:
    assert {index for folded in ESPEAK.values() for index in folded} == set(range(40))


def test_double_mnemonics_fold_to_two_classes() -> None:
    assert ESPEAK["aI3"] == (INDEX["ay"], INDEX["er"])
    assert ESPEAK["O@"] == ESPEAK["o@"] == (INDEX["ao"], INDEX["r"])
    assert max(len(folded) for folded in ESPEAK.values()) == 2


def test_timit_folds_61_symbols_to_39_classes_without_ao() -> None:
    assert len(TIMIT) == 61
    assert set(TIMIT.values()) == set(range(40)) - {INDEX["ao"]}
    assert TIMIT["zh"] == INDEX["sh"]
    assert {TIMIT[closure] for closure in ("pcl", "tcl", "kcl", "bcl", "dcl", "gcl")} == {SILENCE}
