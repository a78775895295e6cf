"""The evidence log: what is logged, how a log is built, signed, proven and checked, in C2SP and RFC 6962 formats.

* ``events``: which events exist and in whose chain each stands
* ``entry``: the record of one event and its canonical bytes
* ``chain``: commitment, object id and link: what a leaf holds
* ``tree``: Merkle hashes, proofs and their verification
* ``edges``: the right edge of a growing log, in tiles
* ``tile``: names of tiles and the framing of entries
* ``note``: signed notes and cosignatures
* ``checkpoint``: the signed tree head
* ``proof``: the file that shows one entry to a stranger
"""
