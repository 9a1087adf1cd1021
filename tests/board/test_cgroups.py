"""The control groups whose limits hold for this process are found, wherever they are mounted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine import V1_MOUNTS, V2_MOUNT, machine

from assistant.board.cgroups import field, groups_of, number, read

V2 = {
    "proc/self/mountinfo": "22 1 179:2 / / rw - ext4 /dev/root rw\n" + V2_MOUNT,
    "sys/fs/cgroup/assistant.slice/assistant-llm.service/": "",
}
CONTAINER_V1 = "500 499 0:32 /docker/4f2a /sys/fs/cgroup/memory ro,nosuid master:15 - cgroup cgroup rw,memory"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "folders"),
    [
        pytest.param(
            "0::/assistant.slice/assistant-llm.service\n",
            V2_MOUNT,
            ["assistant.slice/assistant-llm.service", "assistant.slice", "."],
            id="service",
        ),
        pytest.param("0::/\n", V2_MOUNT, ["."], id="root, or a container of its own"),
        pytest.param("0::/../../elsewhere\n", V2_MOUNT, ["."], id="outside of the namespace"),
        pytest.param("0::/gone.scope\n", V2_MOUNT, ["."], id="a group that is not there"),
        pytest.param("0::/assistant.slice (deleted)\n", V2_MOUNT, ["."], id="deleted"),
        pytest.param("", V2_MOUNT, [], id="a kernel without groups"),
        pytest.param("0::/assistant.slice\n", "", [], id="nothing mounted"),
        pytest.param("0::/x\nnonsense\n7:\n", "nonsense - x\n1 2 3 4 5 6 - cgroup2", ["."], id="odd lines"),
    ],
)
def test_version_2(tmp_path: Path, cgroup: str, mounts: str, folders: list[str]) -> None:
    machine(tmp_path, V2 | {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts})
    top = tmp_path / ("5" if "nonsense" in mounts else "sys/fs/cgroup")
    found = groups_of("memory", tmp_path)
    assert [group.folder for group in found] == [top / folder for folder in folders]
    assert all(group.is_v2 for group in found)


def test_both_versions_at_once(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/memory/a/b/": "",
    }
    found = groups_of("memory", machine(tmp_path, files))
    top = tmp_path / "sys/fs/cgroup"
    assert [(group.folder, group.is_v2) for group in found] == [
        (top / "memory/a/b", False),
        (top / "memory/a", False),
        (top / "memory", False),
        (top / "unified", True),
    ]
    assert groups_of("cpu", tmp_path)[0].folder == top / "cpu,cpuacct"


@pytest.mark.parametrize("path", ["/docker/4f2a", "/docker/4f2a/inner", "/", "/elsewhere"])
def test_a_container_sees_a_part_of_the_groups(tmp_path: Path, path: str) -> None:
    files = {
        "proc/self/cgroup": f"4:memory:{path}\n",
        "proc/self/mountinfo": CONTAINER_V1,
        "sys/fs/cgroup/memory/inner/": "",
    }
    found = groups_of("memory", machine(tmp_path, files))
    top = tmp_path / "sys/fs/cgroup/memory"
    assert [group.folder for group in found] == ([top / "inner", top] if "inner" in path else [top])
    assert found[-1].name == "the container"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_number_or_none(text: str, name: str) -> None:
    assert (number(text) or 0) >= 0
    assert (field(text, "MemTotal") or 0) >= 0
    assert number(f" {10**18} \n") == 10**18
    assert number(name + "max") is None


def test_a_field_is_a_whole_word_at_the_start_of_its_line() -> None:
    text = "oom_kill_disable 1\nxoom_kill 2\noom_kill 3\n"
    assert field(text, "oom_kill") == 3
    assert field("MemTotal:  12 kB\n", "MemTotal") == 12
    assert field("MemTotal: much kB\n", "MemTotal") is None


def test_a_folder_or_nothing_reads_as_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path / "missing") == ""
