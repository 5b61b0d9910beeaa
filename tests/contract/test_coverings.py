"""The choice of cells that the matrix of options is tested by."""

import itertools

from tests.coverings import covering


def test_all_pairs_are_there_and_none_that_is_not_allowed():
    table = list(itertools.product("ab", "cdef", "ghi", "jk"))
    allowed = [cell for cell in table if not {"a", "g"} <= set(cell)]
    chosen = covering(allowed)
    assert set(chosen) <= set(allowed)
    assert len(chosen) < len(table) / 3
    for one, other in itertools.combinations("abcdefghijk", 2):
        is_pair = any({one, other} <= set(cell) for cell in allowed)
        assert any({one, other} <= set(cell) for cell in chosen) is is_pair, (one, other)
