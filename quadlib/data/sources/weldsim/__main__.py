"""One writing process of a set: `python -m quadlib.data.sources.weldsim FOLDER WANTED_JSON SHARE
SHARES`.
"""

import json
import sys
from pathlib import Path

from quadlib.data.sources.weldsim.write import write_share

write_share(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
