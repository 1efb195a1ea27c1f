"""The simulator's rooms, in the order in which a request walks through them.

`admission` → `handlers` → `checks` → `answers` → `messages` → `wire`; they stand on `shapes`, `reserved`, `models` and
`errors`, which know nothing of them.
"""
