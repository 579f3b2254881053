"""What the Python clients share: how a step's result is printed, as one line of JSON."""
import datetime
import decimal
import json
import os
import uuid

ROW = {
    "id": 1, "n": decimal.Decimal("12345.67"), "t": "it's \"ünï\" \\ ☃", "b": True, "d": datetime.date(2024, 2, 29),
    "ts": datetime.datetime(2024, 2, 29, 12, 34, 56, 789000, tzinfo=datetime.timezone.utc),
    "u": uuid.UUID("00000000-0000-4000-8000-000000000001"), "by": b"\x00\xff\xde\xad", "a": [1, 2, 3],
    "at": ["x", "b c", None], "f": 1.5, "big": 2**40, "iv": datetime.timedelta(days=3, hours=4),
}
COLUMNS = "id, n, t, b, d, ts, u, j, jb, by, a, at, f, big, iv"


def plain(value):
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"{type(value).__name__} {value}"


def say(step, value):
    print(json.dumps({"step": step, "value": plain(value)}), flush=True)


def failed(step, function, kind, state=lambda e: e.pgcode):
    try:
        function()
    except kind as e:
        say(step, [type(e).__name__, state(e)])
    else:
        say(step, "no error")


ENV = os.environ
