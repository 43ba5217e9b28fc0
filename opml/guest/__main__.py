"""`python -m opml.guest`: builds the guest image and its description into this folder."""

from pathlib import Path

from opml.guest import DESCRIPTION, IMAGE
from opml.guest.build import build_image, describe_image


def main() -> None:
    folder = Path(__file__).parent
    image = build_image()
    description = describe_image(image)
    (folder / IMAGE).write_bytes(image)
    (folder / DESCRIPTION).write_text(description.to_json())
    print(f"{folder / IMAGE}: {description.size} bytes, sha256 {description.sha256}")


if __name__ == "__main__":
    main()
