"""What stands in the ordinary documents: sentences, names and figures of offices, in several languages, chosen by a number."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw

SENTENCES = (
    "The meeting of the building committee begins at nine in the large hall.",
    "Please find the figures for the third quarter below; they are preliminary.",
    "Wir danken für Ihren Auftrag und liefern die Ware bis Ende der Woche.",
    "Die Rechnung ist innerhalb von dreißig Tagen ohne Abzug zahlbar.",
    "Nous vous prions de trouver ci-joint le compte rendu de la réunion.",
    "Les inscriptions sont ouvertes jusqu'au quinze du mois prochain.",
    "Adjuntamos el presupuesto solicitado para la reforma de la cocina.",
    "La biblioteca permanecerá cerrada durante las fiestas locales.",
    "In allegato trovate il programma della gita e il modulo di consenso.",
    "Bijgaand ontvangt u de notulen van de ledenvergadering.",
    "Uprzejmie informujemy o zmianie godzin otwarcia sekretariatu.",
    "Segue em anexo a ata da assembleia do condomínio.",
    "The parts were tested according to the standard and passed.",
    "Travel expenses are to be handed in with the original receipts.",
    "The choir rehearses on Thursdays; new voices are welcome.",
)
PEOPLE = (
    "Ana Ruiz",
    "Tom Baker",
    "Jürgen Groß",
    "Marie Lefèvre",
    "Piotr Zieliński",
    "Sofia Rossi",
    "Wei Chen",
    "Aylin Demir",
)
FIRMS = (
    "Harbour Joinery Ltd",
    "Müller Haustechnik GmbH",
    "Boulangerie du Pont",
    "Ristorante da Gino",
    "Stadtbücherei Nord",
)
ITEMS = ("oak boards", "hinges", "heat pump", "consultation", "bread rolls", "paper A4", "delivery", "licence", "paint")


def rng(number: int) -> random.Random:
    """The same choices for the same number."""
    return random.Random(f"ordinary {number}")


def paragraphs(number: int, *, count: int = 6) -> list[str]:
    """Some paragraphs of a few sentences."""
    chosen = rng(number)
    return [" ".join(chosen.choices(SENTENCES, k=chosen.randint(2, 5))) for _ in range(count)]


def rows(number: int, *, count: int = 12) -> list[tuple[str, int, float]]:
    """Items, how many, and the price of one."""
    chosen = rng(number)
    return [(chosen.choice(ITEMS), chosen.randint(1, 40), chosen.randint(50, 90_000) / 100) for _ in range(count)]


def picture(number: int, kind: str = "PNG", *, side: int = 240) -> bytes:
    """A diagram or a gradient, as a file of a kind that Pillow writes."""
    chosen = rng(number)
    image = Image.new("RGB", (side, side * 2 // 3), (245, 245, 250))
    draw = ImageDraw.Draw(image)
    for position in range(8):
        height = chosen.randint(10, side // 2)
        left = 10 + position * (side - 20) // 8
        draw.rectangle((left, side * 2 // 3 - height, left + side // 12, side * 2 // 3), fill=(40, 90, 30 * position))
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()
