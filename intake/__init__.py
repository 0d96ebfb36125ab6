"""What people bring: trained weights, ONNX files, images and texts, read without ever running anything in them.

A file is parsed in a sandboxed process (`sandbox`, with the parsers of `parsing`), which writes it anew in a form of
ours; only that is kept (`items`) and used. A model is a source (`sources`), how its input is prepared
(`preprocessing`) and data, put together once and never changed (`library`).
"""
