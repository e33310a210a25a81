"""Pictures for notebooks, with Pillow only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def contact_sheet(images: np.ndarray, captions: Sequence[str], good: Sequence[bool] | None = None, columns: int = 8,
                  side: int = 96):
    """Images (N, H, W, C) in a grid with a caption each, as a PIL image, which notebooks display.

    Args: good: captions are green or red. columns: images in a row. side: pixels of an image on the sheet.
    """
    from PIL import Image, ImageDraw

    nearest = getattr(Image, "Resampling", Image).NEAREST  # before Pillow 9.1 the module itself
    line, gap = 14, 4
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) + gap, rows * (side + line + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (image, caption) in enumerate(zip(images, captions)):
        x, y = gap + i % columns * (side + gap), gap + i // columns * (side + line + gap)
        image = np.asarray(image, np.uint8)
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
        sheet.paste(picture.resize((side, side), nearest), (x, y))
        color = "black" if good is None else "darkgreen" if good[i] else "red"
        draw.text((x, y + side + 1), str(caption), fill=color)
    return sheet
