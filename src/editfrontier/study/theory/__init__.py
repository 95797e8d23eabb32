"""The paper's theorems as functions of callables and tensors: their constants, their bounds, and what is measured.

docs/theory.md states each theorem, the reading that is built, and what a violation means. Nothing here knows of cases
or findings except `study`, which the analyses of this package share.
"""
