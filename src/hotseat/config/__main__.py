"""Prints the JSON schema of hotseat.yaml: python -m hotseat.config > examples/hotseat.schema.json"""

import json

from hotseat.config.model import json_schema

print(json.dumps(json_schema(), indent=2))
