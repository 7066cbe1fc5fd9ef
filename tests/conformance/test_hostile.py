"""Exceptions that change while they are recorded, or say odd things about themselves."""

from __future__ import annotations

import domain_fixture


def test_a_message_that_is_replaced_meanwhile_is_the_one_that_was_there(core_name, child, reader):
    assert child(core_name, "args_replaced", reader.path)
    (row,) = reader.rows()
    assert row["message"] == "the first message " + "a" * 700


def test_a_cause_that_goes_while_it_is_looked_at_is_looked_at_whole(core_name, child, reader):
    child(core_name, "chain_replaced", reader.path)
    assert [row["type"] for row in reader.rows()] == ["KeyError"]


def test_a_type_name_is_the_text_that_it_is(core_name, child, reader):
    child(core_name, "names_of_their_own", reader.path)
    names = [row["type"] for row in reader.rows()]
    assert names == ["Charge.Error", "shop.Charge.Error", "Charge.Error"]


def test_stacks_that_differ_at_their_innermost_end_are_two_errors(core_name, child, reader):
    computed = child(core_name, "innermost_of_deep_stacks", reader.path)
    assert [row["fingerprint"] for row in reader.rows()] == computed
    assert len(set(computed)) == 2


def test_an_error_that_is_recorded_while_a_domain_is_bound_is_counted(core_name, child, reader):
    calls, bound = child(core_name, "records_while_binding", reader.path)
    assert bound and calls
    counted = sum(domain_fixture.errors(reader.cells()).values())
    assert counted == 2 + len(calls)
