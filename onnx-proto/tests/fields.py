"""Writes fields.json beside this file: every message, field and enum of the ONNX format.

The facts are read from the descriptor compiled into the Python package `onnx`; made with onnx 1.23.2.
"""

import json
from pathlib import Path

import onnx
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto


def field_row(field, oneofs):
    row = {
        "number": field.number,
        "name": field.name,
        "type": FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower(),
        "label": FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower(),
        "packed": field.options.packed,
    }
    if field.type_name:
        row["of"] = field.type_name.removeprefix(".onnx.")
    if field.HasField("oneof_index"):
        row["oneof"] = oneofs[field.oneof_index].name
    return row


def walk(message, prefix, messages, enums):
    name = prefix + message.name
    rows = [field_row(field, message.oneof_decl) for field in message.field]
    messages[name] = sorted(rows, key=lambda row: row["number"])
    for enum in message.enum_type:
        enums[f"{name}.{enum.name}"] = values(enum)
    for nested in message.nested_type:
        walk(nested, f"{name}.", messages, enums)


def values(enum):
    return dict(sorted(((value.name, value.number) for value in enum.value), key=lambda pair: pair[1]))


def lines(table, show):
    return ",\n".join(f"  {json.dumps(name)}: {show(table[name])}" for name in sorted(table))


def main():
    file = FileDescriptorProto()
    onnx.onnx_ml_pb2.DESCRIPTOR.CopyToProto(file)
    messages, enums = {}, {}
    for message in file.message_type:
        walk(message, "", messages, enums)
    for enum in file.enum_type:
        enums[enum.name] = values(enum)
    rows = lambda rows: "[\n" + ",\n".join(f"    {json.dumps(row)}" for row in rows) + "\n  ]"
    text = (
        f'{{\n"onnx": "{onnx.__version__}",\n"ir_version": {onnx.IR_VERSION},\n'
        f'"messages": {{\n{lines(messages, rows)}\n}},\n"enums": {{\n{lines(enums, json.dumps)}\n}}\n}}\n'
    )
    Path(__file__).with_name("fields.json").write_text(text)


if __name__ == "__main__":
    main()
