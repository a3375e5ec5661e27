# ruff: noqa: E501 (lines are as XLA writes them)
"""Collectives in the text of a compiled program: every form that XLA writes them in."""

import pytest

from plmjax.parallel.collectives import Collective, collectives, moved_by_kind

PROGRAM = """\
HloModule jit_step, is_scheduled=true, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  ROOT %sum = f32[] add(%x, %x)
}

%inner (p: (s32[], f32[4,16])) -> (s32[], f32[4,16]) {
  %inner.reduce = bf16[4,16]{1,0:T(8,128)(2,1)S(1)} all-reduce(%p), replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add
}

%body (p: (s32[], f32[4,16])) -> (s32[], f32[4,16]) {
  %loop.1 = (s32[], f32[4,16]{1,0}) while(%p), condition=%test, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %gather = f32[8,16]{1,0} all-gather(%p), replica_groups={{0,1},{2,3},{4,5},{6,7}}, dimensions={0}, metadata={op_name="jit(step)/dot" stack_frame_id=1}
}

%test (p: (s32[], f32[4,16])) -> pred[] {
  ROOT %less = pred[] compare(%p, %p), direction=LT
}

%wrapped (p: f32[8,4]) -> f32[8,4] {
  %swap = f32[8,4]{1,0} all-to-all(%p), replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}
}

%counted (p: (s32[], f32[4,16])) -> pred[] {
  %limit = s32[]{:T(128)} constant(6)
  ROOT %under = pred[]{:T(512)} compare(%p, %limit), direction=LT
}

%all-reduce-scatter.clone (p: f32[8,16]) -> f32[2,16] {
  %whole = f32[8,16]{1,0:T(8,128)} all-reduce(%p), replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  ROOT %part = f32[2,16]{1,0:T(8,128)} dynamic-slice(%whole), dynamic_slice_sizes={2,16}
}

%first (p: f32[2,16]) -> (f32[2,16], f32[8,16], u32[]) {
  %chained = f32[8,16]{1,0} all-gather(%p), channel_id=12, replica_groups={{0,1,2,3},{4,5,6,7}}, frontend_attributes={chain_id="0"}
  ROOT %start = (f32[2,16]{1,0}, f32[8,16]{1,0}, u32[]{:S(2)}) custom-call(%chained), custom_call_target="AsyncCollectiveStart"
}

%later (p: f32[2,16]) -> f32[8,16] {
  ROOT %chained.1 = f32[8,16]{1,0} all-gather(%p), channel_id=12, replica_groups={{0,1,2,3},{4,5,6,7}}, frontend_attributes={chain_id="0"}
}

%tpu (p: (s32[], f32[2,16])) -> (s32[], f32[2,16]) {
  %async-collective-start = (f32[2,16]{1,0}, f32[8,16]{1,0}, u32[]{:S(2)}) fusion(%p), kind=kCustom, calls=%first
  %meanwhile = (f32[4]{0}, f32[8,16]{1,0}) fusion(%p), kind=kOutput, calls=%later
  %async-collective-done = f32[8,16]{1,0} fusion(%p), kind=kCustom, calls=%later
  %fusion = f32[2,16]{1,0:T(8,128)S(1)} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.clone, metadata={op_name="jit(step)/out"}
}

ENTRY %main (a: f32[4,16], /*index=1*/b: f32[8,4]) -> f32[] {
  %loop = (s32[], f32[4,16]{1,0}) while(%a), condition=%test, body=%body, backend_config={"known_trip_count":{"n":"5"},"other":1}
  %open = (s32[], f32[4,16]{1,0}) while(%a), condition=%test, body=%inner
  %in-flight = ((f32[4]{0}, f32[]), u32[]) async-start(%b), calls=%wrapped
  %arrived = f32[8,4]{1,0} async-done(%in-flight), calls=%wrapped
  %unsaid = (s32[], f32[2,16]{1,0}) while(%a), condition=%counted, body=%tpu
  %both = (f32[8,16]{1,0}, /*index=1*/f32[]) all-reduce(%a, %b), replica_groups={}, to_apply=%add
  %start = (f32[2,16]{1,0}, f32[16,16]{1,0}) all-gather-start(%a), replica_groups=[1,8]<=[8], dimensions={0}
  %done = f32[16,16]{1,0} all-gather-done(%start)
  %sent = (s8[6]{0}, s8[6]{0}, u32[], u32[]) collective-permute-start(%b), source_target_pairs={{0,1},{1,0}}
  ROOT %cut = pred[3,2]{1,0} reduce-scatter(%b), replica_groups=mesh['x'=2,'y'=4] {'x','y':(1)2}, dimensions={0}
}
"""
EXPECTED = [
    Collective("all-reduce", (("bf16", (4, 16)),), 2, 15, ""),
    Collective("all-gather", (("f32", (8, 16)),), 2, 5, "jit(step)/dot"),
    Collective("all-reduce", (("bf16", (4, 16)),), 2, 1, ""),
    Collective("all-to-all", (("f32", (8, 4)),), 4, 1, ""),
    Collective("all-gather", (("f32", (8, 16)),), 4, 6, ""),
    Collective("reduce-scatter", (("f32", (2, 16)),), 4, 6, "jit(step)/out"),
    Collective("all-reduce", (("f32", (8, 16)), ("f32", ())), 8, 1, ""),
    Collective("all-gather", (("f32", (16, 16)),), 8, 1, ""),
    Collective("collective-permute", (("s8", (6,)),), 2, 1, ""),
    Collective("reduce-scatter", (("pred", (3, 2)),), 4, 1, ""),
]


def test_every_form_is_read():
    assert list(collectives(PROGRAM)) == EXPECTED


def test_a_program_on_one_device_has_none():
    text = "ENTRY %main (a: f32[4]) -> f32[4] {\n  ROOT %b = f32[4]{0} negate(%a)\n}\n"
    assert collectives(text) == () and moved_by_kind(()) == {}


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("all-reduce", 2 * 3 / 4),
        ("all-gather", 3 / 4),
        ("reduce-scatter", 3),
        ("all-to-all", 3 / 4),
        ("collective-permute", 1),
    ],
)
def test_bytes_are_those_of_a_ring(kind, share):
    size = 2 * 100 * 8 + 4 * 40
    found = Collective(kind, (("bf16", (100, 8)), ("f32", (40,))), 4, 7, "")
    assert found.size == size and found.elements == 800
    assert found.moved == 7 * share * size
    alone = Collective("all-reduce", (("f32", (40,)),), 1, 7, "")
    assert moved_by_kind([found, found, alone])[kind] == 14 * share * size
    assert alone.moved == 0
