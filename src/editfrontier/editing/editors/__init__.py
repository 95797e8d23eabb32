"""Editors, one file each with a constant `EDITOR`; `editing.editor` says what an editor is."""
