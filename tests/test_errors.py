import pickle

from perception.errors import PerceptionError, UsageError


def test_an_error_is_one_line_with_place_found_expected_and_advice():
    error = PerceptionError("a.txt:3", "14 columns", "15 or 16", "Add one.")

    assert str(error) == "a.txt:3: found 14 columns, expected 15 or 16. Add one."


def test_an_error_keeps_its_kind_and_text_between_processes():
    error = UsageError("--to", "x", "y", "Z.")

    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), str(copy)) == (UsageError, str(error))
