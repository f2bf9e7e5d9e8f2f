"""``kubectl vmext``: what people do with machines and extensions beyond what kubectl itself can."""
