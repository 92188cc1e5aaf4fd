"""A placeholder: the platform's delivery gate asks for this file.

The cell is the binary `crm-cell`, built from its own repository; this folder's Dockerfile takes its image.
"""

import sys

if __name__ == "__main__":
    sys.exit("The CRM cell is no Python program: run the image, or `crm-cell`. See README.md beside this folder.")
