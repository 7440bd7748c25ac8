"""What a client sees of an Invoice: PDF, CSV, UBL and JSON, each written from its values alone, the same bytes every time.

Every text in it is foreign: each writer escapes for its own sink.
"""
