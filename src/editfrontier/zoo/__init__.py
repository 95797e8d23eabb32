"""The micro zoo: small models of the real architecture classes, trained on the micro world.

Every model is trained by `python -m editfrontier.zoo train NAME`, on one resumable loop (`zoo.loop`), and lands in
a folder of the library's own on-disk layout beside a `provenance.json` (`zoo.provenance`).
"""
