"""Reading HLO: a collective in a loop counts for every turn, one cut into pieces once, and gathers are told apart."""

from __future__ import annotations

from toolrm_jax.parallel.hlo import IN_LAYERS, IN_LOOP, collectives, gathered_outside, loop_turns, totals

MODULE = """HloModule jit_step, is_scheduled=true

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%piece.1 (p: f32[4,8]) -> f32[16,8] {
  %p = f32[4,8]{1,0} parameter(0)
  ROOT %all-gather.1 = f32[16,8]{1,0} all-gather(%p), channel_id=7, dimensions={0}
}

%piece.2 (p: f32[4,8]) -> f32[16,8] {
  %p = f32[4,8]{1,0} parameter(0)
  ROOT %all-gather.2 = f32[16,8]{1,0} all-gather(%p), channel_id=7, dimensions={0}
}

%all-reduce-scatter.4 (p: bf16[16,8]) -> bf16[4,8] {
  %p = bf16[16,8]{1,0} parameter(0)
  %all-reduce.5 = bf16[16,8]{1,0} all-reduce(%p), channel_id=11, to_apply=%add
  ROOT %part = bf16[4,8]{1,0} dynamic-slice(%all-reduce.5, %i, %zero), dynamic_slice_sizes={4,8}
}

%body (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state = (s32[], f32[4,8]{1,0}) parameter(0)
  %x = f32[4,8]{1,0} get-tuple-element(%state), index=1
  %fusion.1 = f32[16,8]{1,0} fusion(%x), kind=kCustom, calls=%piece.1
  %fusion.2 = f32[16,8]{1,0} fusion(%x), kind=kCustom, calls=%piece.2
  %reduce-scatter.3 = bf16[4,8]{1,0} reduce-scatter(%half), channel_id=8, dimensions={0}, to_apply=%add
  %fusion.4 = bf16[4,8]{1,0} fusion(%half), kind=kCustom, calls=%all-reduce-scatter.4
  %half = bf16[16,8]{1,0} convert(%fusion.2)
  %collective-permute-start.1 = (bf16[16,8]{1,0}, bf16[16,8], u32[]) collective-permute-start(%half), channel_id=9
  %collective-permute-done.1 = bf16[2,8]{1,0} collective-permute-done(%collective-permute-start.1)
  ROOT %out = (s32[], f32[4,8]{1,0}) tuple(%i, %x)
}

%condition (state: (s32[], f32[4,8])) -> pred[] {
  %state = (s32[], f32[4,8]{1,0}) parameter(0)
  %limit = s32[]{:T(128)} constant(5)
  %i = s32[] get-tuple-element(%state), index=0
  ROOT %lt = pred[] compare(%i, %limit), direction=LT
}

ENTRY %main (x: f32[4,8], ids: s32[1,100]) -> f32[4,8] {
  %x = f32[4,8]{1,0} parameter(0)
  %ids = s32[1,100]{1,0} parameter(1)
  %all-gather.9 = s32[4,100]{1,0} all-gather(%ids), channel_id=1, dimensions={0}
  %all-gather.10 = f32[16,8]{1,0} all-gather(%x), channel_id=2, dimensions={0}, metadata={op_name="jit(step)/head"}
  %all-reduce.1 = (f32[]{:T(128)}, f32[3]{0}) all-reduce(%s, %t), channel_id=3, to_apply=%add
  %all-reduce.2 = bf16[16,8]{1,0} all-reduce(%dynamic-update-slice.7), channel_id=5, metadata={op_name="jit(step)/k"}
  %all-reduce.3 = bf16[16,8]{1,0} all-reduce(%fusion.8), channel_id=6, to_apply=%add
  %while.1 = (s32[], f32[4,8]) while(%start), condition=%condition, body=%body, metadata={op_name="jvp(layers)/while"}
  %send.1 = (bf16[5,8]{1,0}, u32[], token[]) send(%h, %t), channel_id=4, handler="xla_megascale_runtime"
  ROOT %done = f32[4,8]{1,0} get-tuple-element(%while.1), index=1
}
"""


def test_collectives_are_counted_by_place_with_their_bytes():
    assert totals(collectives(MODULE)) == {
        ("all-gather", "s32", "outside of loops"): (1, 4 * 100 * 4),
        ("all-gather", "f32", "outside of loops"): (1, 16 * 8 * 4),
        ("all-gather", "f32", "in the layer loop"): (5, 5 * 16 * 8 * 4),
        ("all-reduce", "f32", "outside of loops"): (1, 16),
        ("all-reduce", "bf16", "outside of loops"): (2, 2 * 16 * 8 * 2),
        ("reduce-scatter", "bf16", "in the layer loop"): (10, 10 * 16 * 8 * 2),
        ("between slices", "bf16", "outside of loops"): (1, 5 * 8 * 2),
        ("collective-permute", "bf16", "in the layer loop"): (5, 5 * 16 * 8 * 2),
    }


def test_turns_come_from_the_condition_or_from_what_xla_noted():
    assert loop_turns(MODULE) == [5]
    noted = MODULE.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"9"}}')
    assert loop_turns(noted) == [9]


def test_a_weight_gathered_outside_the_loop_is_named_and_token_ids_are_no_weight():
    found = collectives(MODULE)
    # 400 token ids are gathered outside of the loop too; the gathers within it hold 128 numbers as well.
    told = gathered_outside(found, {128: "gate", 400: "up", 4: "down"})
    # A TPU gathers small weights by summing arrays that are zero but for a device's own part; other sums are none.
    assert sorted((name, one.operation) for name, one in told) == [("gate", "jit(step)/head"), ("gate", "jit(step)/k")]
    assert gathered_outside(found, {127: "gate", 400: "up"}) == []


# A step in two parts: over layers there and back, and over pieces of the logits, whose loop is no layers' one.
PARTS = """HloModule jit_step, is_scheduled=true

%gather.layers (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state = (s32[], f32[4,8]{1,0}) parameter(0)
  %all-gather.1 = f32[16,8]{1,0} all-gather(%x), channel_id=1, dimensions={0}
  ROOT %while.9 = (s32[], f32[4,8]{1,0}) while(%state), condition=%twice, body=%attention, metadata={op_name="jit(step)/while/body/transpose(jvp(layers))/while/body/checkpoint/attention/while"}
}

%attention (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %all-gather.2 = f32[16,8]{1,0} all-gather(%x), channel_id=2, dimensions={0}
  ROOT %state = (s32[], f32[4,8]{1,0}) parameter(0)
}

%gather.logits (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %all-gather.3 = f32[16,8]{1,0} all-gather(%x), channel_id=3, dimensions={0}, metadata={op_name="logits"}
  ROOT %state = (s32[], f32[4,8]{1,0}) parameter(0)
}

%part (state: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %state = (s32[], f32[4,8]{1,0}) parameter(0)
  %all-gather.4 = f32[16,8]{1,0} all-gather(%x), channel_id=4, dimensions={0}, metadata={op_name="part"}
  %while.1 = (s32[], f32[4,8]{1,0}) while(%state), condition=%five, body=%gather.layers, metadata={op_name="jit(step)/while/body/transpose(jvp(layers))/while"}
  %while.2 = (s32[], f32[4,8]{1,0}) while(%state), condition=%three, body=%gather.logits, metadata={op_name="jit(step)/while/body/jvp()/while"}
  ROOT %out = (s32[], f32[4,8]{1,0}) tuple(%i, %x)
}

%twice (state: (s32[], f32[4,8])) -> pred[] {
  %limit = s32[] constant(2)
}

%three (state: (s32[], f32[4,8])) -> pred[] {
  %limit = s32[] constant(3)
}

%five (state: (s32[], f32[4,8])) -> pred[] {
  %limit = s32[] constant(5)
}

ENTRY %main (x: f32[4,8]) -> f32[4,8] {
  %while.3 = (s32[], f32[4,8]{1,0}) while(%start), condition=%twice, body=%part, metadata={op_name="jit(step)/while"}
  ROOT %done = f32[4,8]{1,0} get-tuple-element(%while.3), index=1
}
"""  # noqa: E501


def test_only_loops_over_layers_and_loops_within_these_are_the_layer_loop():
    found = collectives(PARTS)
    assert totals(found) == {
        ("all-gather", "f32", IN_LAYERS): (2 * 5 * (1 + 2), 2 * 5 * (1 + 2) * 16 * 8 * 4),
        ("all-gather", "f32", IN_LOOP): (2 * (1 + 3), 2 * (1 + 3) * 16 * 8 * 4),
    }
    told = {(name, one.operation, one.runs) for name, one in gathered_outside(found, {128: "gate"})}
    assert told == {("gate", "part", 2), ("gate", "logits", 6)}
