from django.conf import settings
from django.core.management.base import BaseCommand

from catalogue.models import Product


class Command(BaseCommand):
    help = "Print what is running low: what etc/cron.d/shop runs every morning."

    def add_arguments(self, parser):
        parser.add_argument("--below", type=int, default=5, help="how many in stock count as low (default: %(default)s)")

    def handle(self, *args, below, **options):
        low = Product.objects.filter(stock__lt=below)
        self.stdout.write(f"release {settings.RELEASE_ID}: {low.count()} of {Product.objects.count()} products run low")
        for product in low:
            self.stdout.write(f"  {product}: {product.stock} left")
