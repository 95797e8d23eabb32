"""The micro zoo: small models of the real architecture classes, trained on the micro world.

Every model is trained by `python -m editfrontier.microworld.zoo train NAME`, on one resumable loop (`zoo.loop`). It is
saved in the library's own on-disk layout beside a `provenance.json` (`zoo.provenance`).
"""
