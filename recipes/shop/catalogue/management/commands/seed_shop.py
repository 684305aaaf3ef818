from decimal import Decimal

from django.core.management.base import BaseCommand

from catalogue.models import Product

PRODUCTS = (("Kettle", Decimal("34.50"), 12), ("Mug", Decimal("7.90"), 80), ("Tea, 100 g", Decimal("5.20"), 3))


class Command(BaseCommand):
    help = "Fill an empty shop with something to look at. Products that are there stay as they are."

    def handle(self, *args, **options):
        made = [Product.objects.get_or_create(name=name, defaults={"price": price, "stock": stock})[1] for name, price, stock in PRODUCTS]
        self.stdout.write(f"{sum(made)} products made, {len(made) - sum(made)} were there")
