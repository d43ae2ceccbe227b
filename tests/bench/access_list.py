"""Prints the projects that we see, as they come.

python -m tests.bench.access_list URL
"""

import json
import sys

from imagepipe.harbor.administration import open_administration
from imagepipe.model.result import Credential
from tests.bench.access_plan import PASSWORD


def main(url: str) -> None:
    """Reads the list once."""
    admin = open_administration(url=url, credential=Credential("admin", PASSWORD))
    sys.stdout.write(json.dumps([project.name for project in admin.projects.list()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
