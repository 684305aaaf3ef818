from decimal import Decimal
from io import StringIO

from django.core.management import call_command
from django.test import Client, TestCase, override_settings

from .models import Product

# Before collectstatic there is no manifest of hashed names: the files are served from where they are written.
PLAIN_STATIC = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}


@override_settings(STORAGES=PLAIN_STATIC, WHITENOISE_AUTOREFRESH=True, WHITENOISE_USE_FINDERS=True, SECURE_SSL_REDIRECT=False)
class PageTests(TestCase):
    def test_page_lists_products_from_the_database(self):
        """The page shows what the database holds."""
        Product.objects.create(name="Spoon", price=Decimal("1.20"), stock=4)
        self.assertContains(self.client.get("/"), "<td>Spoon<td>1.20<td>4")

    def test_page_of_an_empty_shop_says_what_to_do(self):
        """An empty shop is a page, not an error."""
        self.assertContains(self.client.get("/"), "seed_shop")

    @override_settings(RELEASE_ID="20261123101112-1a2b3c4d5e6f")
    def test_page_and_health_show_the_release(self):
        """Both say which release answers."""
        self.assertContains(self.client.get("/"), "release 20261123101112-1a2b3c4d5e6f")
        health = self.client.get("/health")
        self.assertEqual(health.json(), {"release": "20261123101112-1a2b3c4d5e6f", "products": 0})
        self.assertEqual(health.headers["X-Release-Id"], "20261123101112-1a2b3c4d5e6f")

    def test_page_links_the_style_sheet(self):
        """The style sheet that the page names is there."""
        self.assertContains(self.client.get("/"), 'href="/static/catalogue/shop.css"')
        response = self.client.get("/static/catalogue/shop.css")
        self.assertIn(b"border-collapse", response.getvalue())
        response.close()

    def test_buying_takes_one_from_the_stock(self):
        """What is bought is gone from the stock, and the page is shown again; nothing can be bought that is not there."""
        Product.objects.create(name="Spoon", price=Decimal("1.20"), stock=1)
        self.assertRedirects(self.client.post("/buy", {"product": "Spoon"}), "/")
        self.assertEqual(Product.objects.get(name="Spoon").stock, 0)
        self.assertEqual(self.client.post("/buy", {"product": "Spoon"}).status_code, 409)
        self.assertEqual(Product.objects.get(name="Spoon").stock, 0)

    def test_only_the_page_that_was_served_can_buy(self):
        """A POST without the page's token is refused, and a page that is read takes no POST."""
        self.assertEqual(Client(enforce_csrf_checks=True).post("/buy", {"product": "Spoon"}).status_code, 403)
        self.assertEqual(self.client.post("/").status_code, 405)

    @override_settings(SECURE_SSL_REDIRECT=True)
    def test_plain_http_is_sent_to_https(self):
        """Behind nginx a request that came without TLS is redirected, one that came with it is served."""
        self.assertEqual(self.client.get("/").status_code, 301)
        self.assertEqual(self.client.get("/", headers={"X-Forwarded-Proto": "https"}).status_code, 200)
        self.assertEqual(self.client.get("/health").status_code, 200)  # asked on the host itself, past nginx


class CommandTests(TestCase):
    def run_command(self, *words):
        output = StringIO()
        call_command(*words, stdout=output)
        return output.getvalue()

    def test_seeding_twice_changes_nothing(self):
        """seed_shop adds what is missing and leaves the rest alone."""
        self.assertIn("3 products made", self.run_command("seed_shop"))
        Product.objects.filter(name="Mug").update(stock=1)
        self.assertIn("0 products made, 3 were there", self.run_command("seed_shop"))
        self.assertEqual(Product.objects.get(name="Mug").stock, 1)

    def test_digest_names_what_runs_low(self):
        """daily_digest lists the products below its limit, and no other."""
        self.run_command("seed_shop")
        digest = self.run_command("daily_digest")
        self.assertIn("1 of 3 products run low", digest)
        self.assertIn("Tea, 100 g: 3 left", digest)
        self.assertNotIn("Mug", digest)
