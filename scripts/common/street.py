"""A drawn photo, so that demo and benchmarks work without one."""

from __future__ import annotations

from PIL import Image, ImageDraw


def draw_street() -> Image.Image:
    """640x480, RGB: houses, trees, a road and a car, enough for a street model to recognise."""
    image = Image.new("RGB", (640, 480), (168, 200, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 120, 190, 330), (150, 105, 90))
    draw.rectangle((450, 80, 640, 330), (185, 170, 150))
    for left in (*range(20, 190, 45), *range(470, 640, 45)):
        for top in (150, 205, 260):
            draw.rectangle((left, top, left + 22, top + 32), (70, 85, 100))
    draw.polygon(((0, 480), (0, 400), (280, 290), (360, 290), (640, 400), (640, 480)), (95, 95, 98))
    draw.polygon(((0, 400), (0, 330), (190, 290), (280, 290)), (165, 160, 155))
    draw.polygon(((640, 400), (640, 330), (450, 290), (360, 290)), (165, 160, 155))
    for top in range(310, 480, 45):
        draw.polygon(((317, top), (323, top), (326, top + 22), (314, top + 22)), (225, 225, 220))
    for middle, top in ((235, 180), (405, 170)):
        draw.rectangle((middle - 5, top + 60, middle + 5, 310), (90, 70, 50))
        draw.ellipse((middle - 38, top, middle + 38, top + 90), (70, 110, 55))
    draw.rounded_rectangle((390, 335, 500, 385), 12, (160, 30, 35))
    draw.polygon(((408, 337), (425, 308), (472, 308), (488, 337)), (50, 60, 75))
    for middle in (412, 478):
        draw.ellipse((middle - 14, 372, middle + 14, 400), (25, 25, 25))
    return image
