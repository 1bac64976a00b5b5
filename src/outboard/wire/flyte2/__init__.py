"""What Flyte 2 says otherwise than Flyte 1 (flyteidl2/connector/connector.proto); imported with the first call of Flyte 2.

Flyte 2's messages are Flyte 1's with fields added and some left out: numbers and types of the others are the same, and a map's
bytes are those of a list of its entries. So a Flyte 2 task is read with Flyte 1's classes, and here is only what those do
not know: connections, the order of inputs and outputs, and a resource without Flyte 1's fields for failures.
Answers that are the same in both are written in Flyte 1's words. `tests/unit/wire/test_flyte2_messages.py` compares the two,
field by field.
"""
