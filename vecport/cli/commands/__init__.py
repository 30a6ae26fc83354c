"""The commands: each parses, calls one public function of ``vecport``, and shows its result."""
