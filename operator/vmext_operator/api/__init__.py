"""The kinds of ``vmext.dev/v1alpha1`` as values: parse and render, no I/O."""

GROUP = "vmext.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
