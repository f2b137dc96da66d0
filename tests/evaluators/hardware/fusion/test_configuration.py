import pytest

from dse.errors import SpecError
from evaluators.hardware.fusion.banks import bank
from tests.evaluators.hardware.fusion.arrays import DEFAULT, SHEET, made

BANKS = [  # bytes, extra port, read and write pJ/bit, area mm2, leakage mW
    (128, False, 0.0213657, 0.0289162, 0.00150, 0.2496),
    (512, True, 0.0331553, 0.0730841, 0.00760, 1.032),
    (1024, False, 0.0354138, 0.1029988, 0.00882, 1.789),
    (2048, False, 0.0594744, 0.1137041, 0.01513, 3.230),
    (4096, False, 0.1071728, 0.1346909, 0.03006, 7.302),
    (4096, True, 0.1244763, 0.1578534, 0.04857, 8.238),
    (8192, False, 0.1997384, 0.1738338, 0.05751, 13.694),
    (16384, False, 0.3119281, 0.2631531, 0.10858, 27.127),
]


@pytest.mark.parametrize(("size", "port", "read", "write", "area", "leakage"), BANKS)
def test_a_bank_of_the_table_is_that_of_cacti(
    size: int, port: bool, read: float, write: float, area: float, leakage: float
) -> None:
    found = bank(SHEET, "wbuf_kib", size, port=port)

    assert (found.read, found.write) == pytest.approx((read, write), abs=6e-8)
    assert found.area == pytest.approx(area, abs=5.1e-6)
    assert found.leakage == leakage


def test_banks_between_two_rows_are_interpolated_log_log() -> None:
    found = bank(SHEET, "wbuf_kib", 1024 * 8**0.5, port=False)

    assert found.read == pytest.approx(0.0798, abs=5e-5)
    assert found.read == pytest.approx((0.059474375 * 0.1071728) ** 0.5)


@pytest.mark.parametrize(
    ("size", "port"), [(127, False), (16385, False), (511, True), (4097, True)]
)
def test_banks_are_not_extrapolated(size: int, port: bool) -> None:
    with pytest.raises(SpecError, match=r"obuf_kib has banks of .* allowed: .* a bank"):
        bank(SHEET, "obuf_kib", size, port=port)


def test_the_default_is_the_array_that_bitfusion_holds_against_eyeriss() -> None:
    assert (DEFAULT.rows, DEFAULT.columns, DEFAULT.dram_bits_per_cycle) == (16, 32, 192)
    assert (DEFAULT.wbuf_bits, DEFAULT.ibuf_bits, DEFAULT.obuf_bits) == (524288, 262144, 131072)
    energy = DEFAULT.energy
    assert energy.core == pytest.approx(235.104, abs=1e-12)
    assert (energy.wbuf_read, energy.wbuf_write) == (0.02136565625, 0.02891615625)
    assert (energy.ibuf_read, energy.ibuf_write) == (0.059474375, 0.1137040625)
    assert (energy.obuf_read, energy.obuf_write) == (0.0331553125, 0.0730840625)
    assert energy.dram == 15


def test_the_default_array_has_the_published_area_and_leakage() -> None:
    found = made()

    area = {part: um2 / 1e6 for part, um2 in found.area_um2.items()}
    published = {"core": 0.888, "wbuf": 0.767, "ibuf": 0.242, "obuf": 0.243}
    assert area == pytest.approx(published, abs=5e-4)
    assert sum(area.values()) == pytest.approx(2.141, abs=5e-4)
    leakage = {"core": 30.4, "wbuf": 127.8, "ibuf": 51.7, "obuf": 33.0}
    assert found.leakage_mw == pytest.approx(leakage, abs=0.05)
    assert sum(found.leakage_mw.values()) == pytest.approx(242.9, abs=0.05)
    assert found.leakage_pj_per_cycle == pytest.approx(486, abs=0.5)


@pytest.mark.parametrize(
    ("preset", "sizes", "clock_mhz"),
    [
        ("stripes", (16, 32, 128, 128, 128, 4096), 980),
        ("small", (8, 8, 256, 64, 16, 128), 500),
    ],
)
def test_presets_are_those_of_the_simulator(
    preset: str, sizes: tuple[int, ...], clock_mhz: float
) -> None:
    found = made(preset=preset)
    array = found.array

    buffers = (array.wbuf_bits, array.ibuf_bits, array.obuf_bits)
    kib = tuple(bits // 8192 for bits in buffers)
    assert (array.rows, array.columns, *kib, array.dram_bits_per_cycle) == sizes
    assert found.clock_mhz == clock_mhz


def test_a_size_given_takes_the_place_of_the_presets() -> None:
    found = made(preset="small", columns=16, obuf_kib=32)

    assert (found.array.rows, found.array.columns) == (8, 16)
    assert found.array.obuf_bits == 32 * 8192
    assert found.array.energy.core == pytest.approx(128 * 235.104 / 512)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"row": 3}, r"mode cycles takes no parameter row; allowed: mode, preset, rows, columns"),
        ({"preset": "big"}, r"preset: Input should be 'eyeriss', 'stripes' or 'small', got 'big'"),
        ({"rows": 1}, r"rows: Input should be greater than or equal to 2, got 1"),
        ({"columns": True}, r"columns: Input should be a valid integer, got True"),
        ({"wbuf_kib": 0}, r"wbuf_kib: Input should be greater than or equal to 1, got 0"),
        ({"batch": 2.5}, r"batch: Input should be a valid integer"),
        ({"clock_mhz": float("inf")}, r"clock_mhz: .*got inf"),
        ({"dram": "tape"}, r"dram: .*'lpddr4'.*got 'tape'"),
        ({"obuf_kib": 8}, r"obuf_kib has banks of 256 bytes; allowed: 512 to 4096 a bank"),
        ({"wbuf_kib": 2**20}, r"wbuf_kib has banks of .* allowed: 128 to 16384 a bank"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        made(**params)
