"""An output prefix that cannot be written is refused before a job starts, with the remedy."""

from pathlib import Path

import pytest

from outboard.detached.output_places import result_place
from outboard.errors import InvalidTask


@pytest.mark.parametrize(
    "prefix", ["s3://bucket/out", "gs://bucket", "abfs://container@account.dfs.core.windows.net/x", ""]
)
def test_buckets_and_no_prefix_are_taken_as_they_are(prefix: str) -> None:
    assert result_place(prefix) == prefix


@pytest.mark.parametrize("form", ["{}", "file://{}", "file://localhost{}"])
def test_a_path_is_made_and_returned_as_a_path(tmp_path: Path, form: str) -> None:
    wanted = tmp_path / "a" / "b c"
    assert result_place(form.format(wanted)) == str(wanted)
    assert wanted.is_dir()


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("relative/x", "where the service was started"),
        ("file://otherhost/x", "otherhost"),
        ("bogus://x/y", "bogus:// is not known"),
        ("memory://x/y", "memory"),
        ("s3:///x", "no bucket"),
        ("/proc/nowhere/x", "o such file or directory"),
        ("/dev/null/x", "ot a directory"),
        ("/tmp/nul\0byte", "no path"),  # noqa: S108 - never made
    ],
)
def test_what_cannot_be_written_is_refused_with_the_remedy(prefix: str, why: str) -> None:
    with pytest.raises(InvalidTask, match="give an absolute path") as caught:
        result_place(prefix)
    assert why in caught.value.message
    assert caught.value.field == "output_prefix"
